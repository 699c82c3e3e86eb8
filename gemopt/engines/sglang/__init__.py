"""SGLang: recorder dumps, and ``--init-expert-location`` files."""
