//! Storage on disk: the write-ahead log, the applied state, snapshot files. Only this room touches files, through `Vfs`.
