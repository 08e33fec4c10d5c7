"""Sources become images and archives, with what lies beside them: bills of materials, statements, signatures."""
