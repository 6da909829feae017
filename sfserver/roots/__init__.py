"""The composition roots: the only ones that read the environment and build engines, brokers and stores."""
