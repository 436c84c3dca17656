//! Module rules: which kind of module a file is, by the patterns Wrangler uses.
//!
//! The project's own rules come first, then the defaults. The first rule whose pattern fits decides; a rule without
//! `fallthrough` switches off the later rules of its kind, defaults included.

/// The kind of module a file becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleKind {
    /// An ES module.
    Es,
    /// Its text.
    Text,
    /// Its bytes.
    Data,
    /// Its parsed JSON.
    Json,
    /// A `WebAssembly.Module`.
    Wasm,
}

impl ModuleKind {
    /// The name configuration gives it.
    pub(super) fn config_name(self) -> &'static str {
        match self {
            Self::Es => "ESModule",
            Self::Text => "Text",
            Self::Data => "Data",
            Self::Json => "Json",
            Self::Wasm => "CompiledWasm",
        }
    }

    /// By the name configuration gives it.
    pub(super) fn from_config(name: &str) -> Option<Self> {
        match name {
            "ESModule" => Some(Self::Es),
            "Text" => Some(Self::Text),
            "Data" => Some(Self::Data),
            "Json" => Some(Self::Json),
            "CompiledWasm" => Some(Self::Wasm),
            _ => None,
        }
    }
}

/// Files that fit one of `globs` are modules of this kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The kind.
    pub kind: ModuleKind,
    /// Patterns over paths relative to the project: `*` stays inside a folder, `**` crosses folders.
    pub globs: Vec<String>,
    /// Later rules of the same kind stay in force.
    pub fallthrough: bool,
}

/// Wrangler's default rules.
const DEFAULTS: [(ModuleKind, &[&str]); 5] = [
    (ModuleKind::Es, &["**/*.js", "**/*.mjs"]),
    (ModuleKind::Json, &["**/*.json"]),
    (ModuleKind::Text, &["**/*.txt", "**/*.html", "**/*.sql"]),
    (ModuleKind::Data, &["**/*.bin"]),
    (ModuleKind::Wasm, &["**/*.wasm"]),
];

/// Rules of a project followed by the defaults.
#[derive(Clone, Debug)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// The project's own rules, completed.
    pub fn new(own: &[Rule]) -> Self {
        let mut rules: Vec<Rule> = own.to_vec();
        for (kind, globs) in DEFAULTS {
            // Switching off JavaScript or JSON by a rule of one's own is never what is meant.
            let keep = matches!(kind, ModuleKind::Es | ModuleKind::Json);
            if keep || !own.iter().any(|rule| rule.kind == kind && !rule.fallthrough) {
                rules.push(Rule {
                    kind,
                    globs: globs.iter().map(|&glob| glob.to_owned()).collect(),
                    fallthrough: true,
                });
            }
        }
        Self(rules)
    }

    /// The kind of the file at `path`, which is relative to the project, with `/` between folders.
    pub fn kind_of(&self, path: &str) -> Option<ModuleKind> {
        let fits = |rule: &&Rule| rule.globs.iter().any(|glob| glob_fits(glob, path));
        self.0.iter().find(fits).map(|rule| rule.kind)
    }

    /// The kind a default rule would have made of `path`, had a rule of the project's own not switched it off.
    pub fn switched_off(&self, path: &str) -> Option<ModuleKind> {
        let fits = |globs: &[&str]| globs.iter().any(|glob| glob_fits(glob, path));
        let (kind, _) = DEFAULTS.into_iter().find(|(_, globs)| fits(globs))?;
        self.kind_of(path).is_none().then_some(kind)
    }
}

/// Whether `path` fits `glob`. Compares piece by piece; `**` may stand for any number of pieces, none included.
fn glob_fits(glob: &str, path: &str) -> bool {
    let glob: Vec<&str> = glob.trim_start_matches("./").split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    // reached[j]: the patterns so far can fit exactly the first j pieces of the path.
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for piece in glob {
        let mut next = vec![false; path.len() + 1];
        if piece == "**" {
            let first = reached.iter().position(|&can| can).unwrap_or(next.len());
            next[first..].fill(true);
        } else {
            for (at, name) in path.iter().enumerate() {
                next[at + 1] = reached[at] && piece_fits(piece, name);
            }
        }
        reached = next;
    }
    reached[path.len()]
}

/// Whether a file or folder name fits a pattern in which `*` stands for any text.
fn piece_fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_the_paths_they_should() {
        let table = [
            ("**/*.txt", "a.txt", true),
            ("**/*.txt", "x/y/a.txt", true),
            ("**/*.txt", "a.txt.js", false),
            ("*.txt", "x/a.txt", false),
            ("src/**/data/*.bin", "src/data/a.bin", true),
            ("src/**/data/*.bin", "src/x/y/data/a.bin", true),
            ("src/**/data/*.bin", "lib/data/a.bin", false),
            ("src/**", "src/a/b", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "ac", false),
            ("a*a", "a", false),
            ("exact.md", "exact.md", true),
            ("./exact.md", "exact.md", true),
            ("exact.md", "other.md", false),
        ];
        for (glob, path, fits) in table {
            assert_eq!(glob_fits(glob, path), fits, "{glob} on {path}");
        }
    }

    #[test]
    fn default_rules_are_wranglers() {
        let rules = Rules::new(&[]);
        let kinds = ["a.js", "a.mjs", "a.json", "a.txt", "a.html", "a.sql", "a.bin", "a.wasm", "a.md", "a.ts"]
            .map(|path| rules.kind_of(path));
        use ModuleKind::*;
        let expected = [Es, Es, Json, Text, Text, Text, Data, Wasm].map(Some).into_iter().chain([None, None]);
        assert!(kinds.into_iter().eq(expected));
    }

    #[test]
    fn a_rule_without_fallthrough_replaces_the_defaults_of_its_kind() {
        let rule = |fallthrough| Rule { kind: ModuleKind::Text, globs: vec!["**/*.md".into()], fallthrough };
        let (closed, open) = (Rules::new(&[rule(false)]), Rules::new(&[rule(true)]));
        assert_eq!((closed.kind_of("a.md"), closed.kind_of("a.txt")), (Some(ModuleKind::Text), None));
        assert_eq!((open.kind_of("a.md"), open.kind_of("a.txt")), (Some(ModuleKind::Text), Some(ModuleKind::Text)));
        assert_eq!(closed.kind_of("a.js"), Some(ModuleKind::Es));
        assert_eq!((closed.switched_off("a.txt"), closed.switched_off("a.js")), (Some(ModuleKind::Text), None));
        assert_eq!((open.switched_off("a.txt"), open.switched_off("a.bmp")), (None, None));
    }
}
