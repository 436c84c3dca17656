//! A Workers project in a temporary directory, written file by file.

use std::{fs, path::Path};

use tempfile::TempDir;

/// Removed when dropped.
pub struct Project {
    dir: TempDir,
}

impl Project {
    /// A project named `test` whose entry is `index.js`, with `bindings` as `("NAME", "Class")` actor namespaces.
    pub fn new(index_js: &str, bindings: &[(&str, &str)]) -> Self {
        let list: Vec<_> =
            bindings.iter().map(|(name, class)| serde_json::json!({ "name": name, "class_name": class })).collect();
        let classes: Vec<_> = bindings.iter().map(|(_, class)| *class).collect();
        let config = serde_json::json!({
            "name": "test",
            "main": "index.js",
            "compatibility_date": "2026-11-01",
            "durable_objects": { "bindings": list },
            "migrations": [{ "tag": "v1", "new_sqlite_classes": classes }],
        });
        let project = Self { dir: TempDir::new().expect("a temporary directory") };
        project.write("wrangler.jsonc", &config.to_string());
        project.write("index.js", index_js);
        project
    }

    /// An empty directory.
    pub fn empty() -> Self {
        Self { dir: TempDir::new().expect("a temporary directory") }
    }

    /// Changes the configuration.
    pub fn configure(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let path = self.path().join("wrangler.jsonc");
        let mut config = serde_json::from_str(&fs::read_to_string(&path).expect("readable")).expect("our own JSON");
        change(&mut config);
        fs::write(path, config.to_string()).expect("writable");
    }

    /// Writes a file of the project.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("inside the project")).expect("writable");
        fs::write(path, text).expect("writable");
    }

    /// The project's directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}
