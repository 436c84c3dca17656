//! From an entry module to all modules of a worker. This is the one place where a bundler will plug in: whatever
//! turns TypeScript and npm packages into modules replaces [`collect`] and nothing else.
//!
//! Today it follows relative imports from file to file. Modules are named by their path relative to the project's
//! directory; nothing outside that directory is ever read, symbolic links included.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Component, Path},
};

use lethe_runtime::program::Module;

use super::{
    error::{Error, Position},
    imports::{self, Import},
    project::{Project, unreadable},
    rules::{ModuleKind, Rules},
};

/// Most modules of a worker.
const MODULES_MAX: usize = 4096;
/// Most bytes of all modules together.
const BYTES_MAX: u64 = 64 << 20;

/// A worker's modules.
pub(super) struct Bundle {
    /// Name of the entry module.
    pub main: String,
    /// All modules by name.
    pub modules: BTreeMap<String, Module>,
}

/// Collects the entry module of `project` and everything it imports.
pub(super) fn collect(project: &Project) -> Result<Bundle, Error> {
    let (main, at) = &project.config.main;
    let name = relative_name(main).ok_or_else(|| {
        error(at, format!("`main` must be a path inside the project, like \"src/index.js\", not {main:?}"))
    })?;
    if is_typescript(&name) {
        return Err(error(at, "TypeScript is not bundled yet; point `main` at JavaScript".into()));
    }
    let mut collector = Collector {
        project,
        rules: Rules::new(&project.config.rules),
        bundle: Bundle { main: name.clone(), modules: BTreeMap::new() },
        bytes: 0,
    };
    if !project.root.join(&name).is_file() {
        return Err(error(at, format!("the entry module {main:?} does not exist")));
    }
    if collector.rules.kind_of(&name) != Some(ModuleKind::Es) {
        return Err(error(at, format!("`main` must be a JavaScript module (.js or .mjs), not {main:?}")));
    }
    collector.run(name)?;
    Ok(collector.bundle)
}

struct Collector<'a> {
    project: &'a Project,
    rules: Rules,
    bundle: Bundle,
    bytes: u64,
}

impl Collector<'_> {
    fn run(&mut self, main: String) -> Result<(), Error> {
        let mut queue = vec![(main, ModuleKind::Es)];
        while let Some((name, kind)) = queue.pop() {
            if self.bundle.modules.contains_key(&name) {
                continue;
            }
            if self.bundle.modules.len() == MODULES_MAX {
                return Err(Error::TooLarge(format!("the worker has more than {MODULES_MAX} modules")));
            }
            let module = self.read(&name, kind)?;
            if let Module::Es(text) = &module {
                for import in imports::scan(text) {
                    queue.extend(self.resolve(&name, text, &import)?);
                }
            }
            self.bundle.modules.insert(name, module);
        }
        Ok(())
    }

    /// The module an import names; `None` if the runtime provides it, or will say what is wrong with it.
    fn resolve(&self, importer: &str, text: &str, import: &Import) -> Result<Option<(String, ModuleKind)>, Error> {
        let specifier = import.specifier.as_str();
        let fail = |message: String| {
            // A dynamic import may stand where it never runs; if it does, its promise is rejected.
            if import.dynamic { Ok(None) } else { Err(error(&Position::of(importer, text, import.at), message)) }
        };
        if specifier.starts_with("cloudflare:") {
            return Ok(None);
        }
        if !specifier.starts_with("./") && !specifier.starts_with("../") {
            return fail(not_relative(specifier));
        }
        let folder = importer.rsplit_once('/').map_or(".", |(folder, _)| folder);
        let Some(name) = relative_name(&format!("{folder}/{specifier}")) else {
            return fail(format!("{specifier:?} lies outside the project"));
        };
        let path = self.project.root.join(&name);
        if !path.is_file() {
            return fail(self.not_found(specifier, &name));
        }
        if is_typescript(&name) {
            return fail(format!("{specifier:?} is TypeScript, which is not bundled yet; import JavaScript"));
        }
        match self.rules.kind_of(&name) {
            Some(kind) => Ok(Some((name, kind))),
            None => fail(self.no_rule(specifier, &name)),
        }
    }

    fn no_rule(&self, specifier: &str, name: &str) -> String {
        let config = self.project.config_file;
        match self.rules.switched_off(name) {
            Some(kind) => format!(
                "no rule says what kind of module {specifier:?} is: {config} has a {} rule that switches off the default \
                 one; give it \"fallthrough\": true",
                kind.config_name()
            ),
            None => format!("no rule says what kind of module {specifier:?} is: add one to `rules` in {config}"),
        }
    }

    fn not_found(&self, specifier: &str, name: &str) -> String {
        let endings = [".js", ".mjs", ".json", "/index.js", "/index.mjs"];
        let exists = |ending: &&str| self.project.root.join(format!("{name}{ending}")).is_file();
        match endings.into_iter().find(exists) {
            Some(ending) => {
                let whole = format!("{}{ending}", specifier.trim_end_matches('/'));
                format!("cannot find {specifier:?}; write the whole path: {whole:?}")
            }
            None => format!("cannot find {specifier:?}"),
        }
    }

    fn read(&mut self, name: &str, kind: ModuleKind) -> Result<Module, Error> {
        let path = self.project.root.join(name);
        let real = path.canonicalize().map_err(|error| unreadable(&path, &error))?;
        if !real.starts_with(&self.project.root) {
            return Err(Error::Unreadable { path, reason: "it is a link to a place outside the project".into() });
        }
        let file = fs::File::open(&real).map_err(|error| unreadable(&path, &error))?;
        let mut bytes = Vec::new();
        let left = BYTES_MAX - self.bytes;
        file.take(left + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&path, &error))?;
        if bytes.len() as u64 > left {
            let limit_mib = BYTES_MAX >> 20;
            return Err(Error::TooLarge(format!("the worker's modules are larger than {limit_mib} MiB together")));
        }
        self.bytes += bytes.len() as u64;
        Ok(match kind {
            ModuleKind::Es => Module::Es(text(name, bytes)?),
            ModuleKind::Text => Module::Text(text(name, bytes)?),
            ModuleKind::Json => Module::Json(json(name, text(name, bytes)?)?),
            ModuleKind::Data => Module::Data(bytes.into()),
            ModuleKind::Wasm => Module::Wasm(bytes.into()),
        })
    }
}

fn error(at: &Position, message: String) -> Error {
    Error::At { at: at.clone(), message }
}

fn text(name: &str, bytes: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..valid]);
        Error::At { at: Position::of(name, &text, valid), message: "not valid UTF-8".into() }
    })
}

fn json(name: &str, text: String) -> Result<String, Error> {
    match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
        Ok(_) => Ok(text),
        Err(error) => {
            let at = Position { file: name.into(), line: error.line(), column: error.column() };
            let words = error.to_string();
            let reason = words.split(" at line ").next().unwrap_or(&words);
            Err(Error::At { at, message: format!("not valid JSON: {reason}") })
        }
    }
}

fn not_relative(specifier: &str) -> String {
    match specifier.split_once(':').map(|(scheme, _)| scheme) {
        Some("node") => format!("{specifier:?} is not supported yet"),
        Some("http" | "https" | "data" | "file") => {
            format!("{specifier:?} is a URL; only files of the project can be imported")
        }
        _ if specifier.starts_with('/') => {
            format!("{specifier:?} is an absolute path; import by a relative one (\"./...\")")
        }
        _ => {
            format!("{specifier:?} is an npm package, which is not bundled yet; bundle first or import a relative path")
        }
    }
}

fn is_typescript(name: &str) -> bool {
    [".ts", ".mts", ".tsx", ".cts", ".jsx"].iter().any(|ending| name.ends_with(ending))
}

/// `a/./b/../c` as `a/c`; `None` if it leaves the project or is absolute.
fn relative_name(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}
