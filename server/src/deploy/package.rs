//! `Package`: a project as it travels: the text of its configuration and its modules, in one piece of bytes.
//!
//! ```text
//! "LTHP" | version u8 | postcard of Package
//! ```
//!
//! Whoever gets one reads the configuration again and compiles the modules again, so every node comes to the same version
//! from the same bytes. `.dev.vars` is for `lethe dev` and stays out.

use std::collections::BTreeMap;

use bytes::Bytes;
use lethe_runtime::program::{Module, Source};
use serde::{Deserialize, Serialize};

use super::{
    Project, bundle,
    error::{Error, Warning},
};
use crate::store::octets;

/// Largest package, bytes.
pub const PACKAGE_BYTES_MAX: usize = 32 << 20;

const MAGIC: [u8; 4] = *b"LTHP";
const VERSION: u8 = 1;

/// A project that was read and can be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// File name of the configuration.
    config_file: String,
    /// Its text.
    config: String,
    /// Name of the entry module.
    main: String,
    /// All modules by name.
    modules: BTreeMap<String, Packed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Packed {
    Es(String),
    Text(String),
    Json(String),
    Data(#[serde(with = "octets")] Bytes),
    Wasm(#[serde(with = "octets")] Bytes),
}

impl Package {
    /// Reads a project and all its modules. Blocks on the file system.
    pub fn read(project: &Project) -> Result<Self, Error> {
        let bundle = bundle::collect(project)?;
        Ok(Self {
            config_file: project.config_file.to_owned(),
            config: project.config_text.clone(),
            main: bundle.main,
            modules: bundle.modules.into_iter().map(|(name, module)| (name, Packed::from(module))).collect(),
        })
    }

    /// Its bytes.
    pub fn encode(&self) -> Result<Bytes, Error> {
        let head = [&MAGIC[..], &[VERSION]].concat();
        // postcard fails to write only into a buffer that is too small.
        let bytes = postcard::to_extend(self, head).expect("a vector takes any package");
        match bytes.len() {
            0..=PACKAGE_BYTES_MAX => Ok(bytes.into()),
            _ => Err(Error::TooLarge(too_large(bytes.len()))),
        }
    }

    /// Reads a package, which may be anything.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let bad = |what: &str| Error::Package(what.to_owned());
        if bytes.len() > PACKAGE_BYTES_MAX {
            return Err(Error::TooLarge(too_large(bytes.len())));
        }
        let rest = bytes.strip_prefix(&MAGIC).ok_or_else(|| bad("it is not one"))?;
        match rest.split_first() {
            Some((&VERSION, body)) => match postcard::take_from_bytes(body) {
                Ok((package, [])) => Ok(package),
                Ok(_) | Err(_) => Err(bad("it is damaged")),
            },
            Some((version, _)) => Err(bad(&format!("it has format {version}, this node reads {VERSION}"))),
            None => Err(bad("it is damaged")),
        }
    }

    /// The project and what a runtime compiles, with what is odd about it.
    pub fn open(self) -> Result<(Project, Source, Vec<Warning>), Error> {
        let (project, warnings) = Project::from_text(&self.config_file, self.config)?;
        let modules = self.modules.into_iter().map(|(name, module)| (name, module.into())).collect();
        let source = project.assemble(self.main, modules);
        Ok((project, source, warnings))
    }
}

fn too_large(bytes: usize) -> String {
    format!("the project has {bytes} bytes; at most {PACKAGE_BYTES_MAX} can be deployed")
}

impl From<Module> for Packed {
    fn from(module: Module) -> Self {
        match module {
            Module::Es(text) => Self::Es(text),
            Module::Text(text) => Self::Text(text),
            Module::Json(text) => Self::Json(text),
            Module::Data(bytes) => Self::Data(bytes),
            Module::Wasm(bytes) => Self::Wasm(bytes),
        }
    }
}

impl From<Packed> for Module {
    fn from(packed: Packed) -> Self {
        match packed {
            Packed::Es(text) => Self::Es(text),
            Packed::Text(text) => Self::Text(text),
            Packed::Json(text) => Self::Json(text),
            Packed::Data(bytes) => Self::Data(bytes),
            Packed::Wasm(bytes) => Self::Wasm(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn project() -> (TempDir, Project) {
        let dir = TempDir::new().unwrap();
        let config =
            r#"{"name": "test", "main": "src/index.js", "compatibility_date": "2026-11-01", "vars": {"A": 1}}"#;
        fs::write(dir.path().join("wrangler.jsonc"), config).unwrap();
        fs::create_dir(dir.path().join("src")).unwrap();
        fs::write(dir.path().join("src/index.js"), "import text from './a.txt'; export default {};").unwrap();
        fs::write(dir.path().join("src/a.txt"), "hello").unwrap();
        fs::write(dir.path().join(".dev.vars"), "SECRET=x\n").unwrap();
        let (project, _) = Project::load(dir.path()).unwrap();
        (dir, project)
    }

    #[test]
    fn a_package_opens_to_the_same_modules_and_keeps_no_secret_of_dev() {
        let (_dir, project) = project();
        let bytes = Package::read(&project).unwrap().encode().unwrap();
        let (opened, source, warnings) = Package::decode(&bytes).unwrap().open().unwrap();
        let whole = project.source().unwrap();
        assert_eq!((source.main, source.modules), (whole.main, whole.modules));
        assert_eq!(source.env.keys().collect::<Vec<_>>(), ["A"]);
        assert_eq!((opened.config.name.as_str(), warnings.len()), ("test", 0));
        assert!(!bytes.windows(6).any(|window| window == b"SECRET"));
    }

    #[test]
    fn bytes_that_are_no_package_are_refused() {
        let (_dir, project) = project();
        let whole = Package::read(&project).unwrap().encode().unwrap();
        for len in 0..whole.len() {
            assert!(Package::decode(&whole[..len]).is_err(), "{len} bytes");
        }
        assert!(Package::decode(&[&whole[..], &[0]].concat()).is_err());
        let mut other = whole.to_vec();
        other[4] = 2;
        assert_eq!(
            Package::decode(&other).unwrap_err().to_string(),
            "the package cannot be used: it has format 2, this node reads 1"
        );
    }

    #[test]
    fn a_package_with_another_kind_of_configuration_is_refused() {
        let (_dir, project) = project();
        let package = Package { config_file: "../x.json".into(), ..Package::read(&project).unwrap() };
        assert!(matches!(package.open(), Err(Error::Package(_))));
    }
}
