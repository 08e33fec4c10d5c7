"""What is known of a platform -> what is wrong with it, with a code, the cause, and what would be right."""
