//! The Workers project that servers under test serve. Its files are in `jepsen/actors`, and inside this binary.

use std::path::Path;

use anyhow::Context;

const FILES: [(&str, &str); 7] = [
    ("wrangler.jsonc", include_str!("../../actors/wrangler.jsonc")),
    ("index.js", include_str!("../../actors/index.js")),
    ("bank.js", include_str!("../../actors/bank.js")),
    ("counter.js", include_str!("../../actors/counter.js")),
    ("list.js", include_str!("../../actors/list.js")),
    ("set.js", include_str!("../../actors/set.js")),
    ("register.js", include_str!("../../actors/register.js")),
];

/// Writes the project into a new folder.
pub fn write_project(dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for (name, text) in FILES {
        std::fs::write(dir.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}
