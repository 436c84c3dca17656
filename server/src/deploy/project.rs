//! A Workers project on disk: its configuration, checked, and from it the `Source` a runtime compiles.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use lethe_runtime::program::{Binding, Module, Source};

use super::{
    bundle, config,
    config::Config,
    error::{Error, Warning},
    namespaces::Namespaces,
    secrets,
};

#[cfg(test)]
mod tests;

/// Names a configuration may have.
const CONFIG_FILES: [&str; 3] = ["wrangler.jsonc", "wrangler.json", "wrangler.toml"];
/// Largest configuration file.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// A project whose configuration has been read and checked.
#[derive(Clone, Debug)]
pub struct Project {
    /// The project's directory, absolute, without symbolic links.
    pub root: PathBuf,
    /// File name of the configuration.
    pub config_file: &'static str,
    /// Its text.
    pub(super) config_text: String,
    /// What the configuration says.
    pub config: Config,
    /// Actor namespaces.
    pub namespaces: Namespaces,
}

impl Project {
    /// Reads the configuration of the project in `dir`. Blocks on the file system.
    pub fn load(dir: &Path) -> Result<(Self, Vec<Warning>), Error> {
        let root = dir.canonicalize().map_err(|error| unreadable(dir, &error))?;
        let found: Vec<&str> = CONFIG_FILES.into_iter().filter(|name| root.join(name).exists()).collect();
        let config_file = match found[..] {
            [one] => one,
            [] => return Err(Error::NoConfig(root)),
            _ => {
                return Err(Error::SeveralConfigs { dir: root, found: found.into_iter().map(str::to_owned).collect() });
            }
        };
        let path = root.join(config_file);
        let size = fs::metadata(&path).map_err(|error| unreadable(&path, &error))?.len();
        if size > CONFIG_BYTES_MAX {
            return Err(Error::TooLarge(format!(
                "{config_file} has {size} bytes; at most {CONFIG_BYTES_MAX} are read"
            )));
        }
        let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        let (mut config, warnings) = config::parse(config_file, &text)?;
        add_secrets(&root, &mut config)?;
        let namespaces = Namespaces::new(&config.name, &config.actors, &config.migrations);
        Ok((Self { root, config_file, config_text: text, config, namespaces }, warnings))
    }

    /// A project of which only the configuration is here.
    pub(super) fn from_text(config_file: &str, text: String) -> Result<(Self, Vec<Warning>), Error> {
        let known = CONFIG_FILES.into_iter().find(|name| *name == config_file);
        let config_file = known.ok_or_else(|| Error::Package(format!("{config_file:?} is no configuration")))?;
        let (config, warnings) = config::parse(config_file, &text)?;
        let namespaces = Namespaces::new(&config.name, &config.actors, &config.migrations);
        Ok((Self { root: PathBuf::new(), config_file, config_text: text, config, namespaces }, warnings))
    }

    /// Collects the worker's modules, following imports from the entry module. Blocks on the file system.
    pub fn source(&self) -> Result<Source, Error> {
        let bundle = bundle::collect(self)?;
        Ok(self.assemble(bundle.main, bundle.modules))
    }

    /// What a runtime compiles, of modules that are known.
    pub(super) fn assemble(&self, main: String, modules: BTreeMap<String, Module>) -> Source {
        let vars = self.config.vars.iter().map(|(name, value)| (name.clone(), Binding::Json(value.clone())));
        let actors = self
            .config
            .actors
            .iter()
            .map(|actor| (actor.binding.clone(), Binding::ActorNamespace { class_name: actor.class_name.clone() }));
        Source {
            name: self.config.name.clone(),
            main,
            modules,
            env: vars.chain(actors).collect::<BTreeMap<_, _>>(),
            limits: self.config.limits,
        }
    }

    /// Checks that every bound class is among the classes the compiled worker exports.
    pub fn check_classes(&self, exported: &[String]) -> Result<(), Error> {
        for actor in &self.config.actors {
            if !exported.contains(&actor.class_name) {
                let class = &actor.class_name;
                let message = format!(
                    "`{class}` is bound as `{}`, but {} exports no class `{class}` that extends DurableObject",
                    actor.binding, self.config.main.0
                );
                return Err(Error::At { at: actor.at.clone(), message });
            }
        }
        Ok(())
    }
}

/// Adds what `.dev.vars` says to `vars`; a name that stands in both has the secret's value.
fn add_secrets(root: &Path, config: &mut Config) -> Result<(), Error> {
    if !root.join(secrets::FILE).exists() {
        return Ok(());
    }
    for secret in secrets::parse(&read_bounded(root, secrets::FILE)?)? {
        if config.actors.iter().any(|actor| actor.binding == secret.name) {
            let message = format!("`{}` is also an actor binding: two bindings cannot have one name", secret.name);
            return Err(Error::At { at: secret.at, message });
        }
        config.vars.insert(secret.name, secret.value.into());
    }
    Ok(())
}

fn read_bounded(root: &Path, file: &str) -> Result<String, Error> {
    let path = root.join(file);
    let size = fs::metadata(&path).map_err(|error| unreadable(&path, &error))?.len();
    if size > CONFIG_BYTES_MAX {
        return Err(Error::TooLarge(format!("{file} has {size} bytes; at most {CONFIG_BYTES_MAX} are read")));
    }
    fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))
}

pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::Unreadable { path: path.to_owned(), reason: error.to_string() }
}
