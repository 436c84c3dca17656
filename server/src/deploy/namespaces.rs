//! Actor namespaces of a worker: what `env` bindings, and names that come over the API, stand for.

use super::{
    config::{ActorBinding, Migration},
    error::Error,
};

/// A set of actors of one class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// `script/Class`
    pub name: String,
    /// The exported class.
    pub class_name: String,
    /// Binding names in `env` that stand for it.
    pub bindings: Vec<String>,
    /// What ids are made from: `script-Class`, where a renamed class keeps its first name and so its actors' ids.
    pub unique_key: String,
}

/// All namespaces of one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces(Vec<Namespace>);

impl Namespaces {
    pub(super) fn new(script: &str, actors: &[ActorBinding], migrations: &[Migration]) -> Self {
        let mut all: Vec<Namespace> = Vec::new();
        for actor in actors {
            if let Some(namespace) = all.iter_mut().find(|namespace| namespace.class_name == actor.class_name) {
                namespace.bindings.push(actor.binding.clone());
                continue;
            }
            all.push(Namespace {
                name: format!("{script}/{}", actor.class_name),
                class_name: actor.class_name.clone(),
                bindings: vec![actor.binding.clone()],
                unique_key: format!("{script}-{}", first_name(&actor.class_name, migrations)),
            });
        }
        Self(all)
    }

    /// Every namespace, in the configuration's order.
    pub fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.0.iter()
    }

    /// The namespace a binding in `env` stands for.
    pub fn by_binding(&self, binding: &str) -> Option<&Namespace> {
        self.0.iter().find(|namespace| namespace.bindings.iter().any(|name| name == binding))
    }

    /// The namespace a caller from outside means: `script/Class`, or a binding or class name where only one fits.
    pub fn resolve(&self, text: &str) -> Result<&Namespace, Error> {
        if let Some(namespace) = self.0.iter().find(|namespace| namespace.name == text) {
            return Ok(namespace);
        }
        let fits = |namespace: &&Namespace| {
            namespace.class_name == text || namespace.bindings.iter().any(|binding| binding == text)
        };
        let mut found = self.0.iter().filter(fits);
        match (found.next(), found.next()) {
            (Some(namespace), None) => Ok(namespace),
            (Some(one), Some(other)) => Err(Error::Namespace(format!(
                "namespace {text:?} may mean {} or {}: give the full name",
                one.name, other.name
            ))),
            (None, _) => Err(Error::Namespace(format!("no namespace {text:?}; there is {}", self.listing()))),
        }
    }

    fn listing(&self) -> String {
        if self.0.is_empty() {
            return "none in this worker".to_owned();
        }
        self.0.iter().map(|namespace| namespace.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// The name a class had before all its renames.
fn first_name<'a>(class: &'a str, migrations: &'a [Migration]) -> &'a str {
    let mut name = class;
    for step in migrations.iter().rev() {
        if step.new_classes.iter().any(|created| created == name) {
            break;
        }
        for (from, to) in step.renamed_classes.iter().rev() {
            if to == name {
                name = from;
            }
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::{super::error::Position, *};

    fn position() -> Position {
        Position { file: "f".into(), line: 1, column: 1 }
    }

    fn actor(binding: &str, class: &str) -> ActorBinding {
        ActorBinding { binding: binding.into(), class_name: class.into(), at: position() }
    }

    fn rename(from: &str, to: &str) -> Migration {
        Migration {
            tag: to.into(),
            new_classes: vec![],
            renamed_classes: vec![(from.into(), to.into())],
            deleted_classes: vec![],
            at: position(),
        }
    }

    #[test]
    fn a_namespace_is_found_by_full_name_binding_and_class() {
        let all =
            Namespaces::new("chat", &[actor("ROOM", "Room"), actor("LOBBY", "Lobby"), actor("ROOM2", "Room")], &[]);
        for text in ["chat/Room", "Room", "ROOM", "ROOM2"] {
            assert_eq!(all.resolve(text).map(|namespace| namespace.name.as_str()), Ok("chat/Room"), "{text}");
        }
        assert_eq!(all.by_binding("LOBBY").map(|namespace| namespace.class_name.as_str()), Some("Lobby"));
        assert_eq!(all.by_binding("Lobby"), None);
    }

    #[test]
    fn an_ambiguous_or_unknown_name_is_refused_with_the_choices() {
        let all = Namespaces::new("chat", &[actor("Room", "Chat"), actor("X", "Room")], &[]);
        let text = |name| all.resolve(name).unwrap_err().to_string();
        assert_eq!(text("Room"), "namespace \"Room\" may mean chat/Chat or chat/Room: give the full name");
        assert_eq!(text("room"), "no namespace \"room\"; there is chat/Chat, chat/Room");
    }

    #[test]
    fn a_renamed_class_keeps_the_unique_key_of_its_first_name() {
        let migrations = [rename("A", "B"), rename("B", "C")];
        let all = Namespaces::new("chat", &[actor("ROOM", "C"), actor("OTHER", "D")], &migrations);
        let keys: Vec<_> = all.iter().map(|namespace| namespace.unique_key.as_str()).collect();
        assert_eq!(keys, ["chat-A", "chat-D"]);
    }
}
