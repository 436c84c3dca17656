//! Projects and versions: reads a Workers project, compiles it, and says which version serves.
