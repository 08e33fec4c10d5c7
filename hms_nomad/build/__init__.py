"""Sources beside a spec -> images and archives: reproducible, labelled, pushed whole or not at all."""
