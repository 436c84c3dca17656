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
    /// What ids are made from: `script-Class`, where a renamed class keeps its first name and so its actors' ids. A
    /// class created under a name that was used before has a number behind it.
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
                unique_key: unique_key(script, &actor.class_name, migrations),
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

/// What ids of a class's actors are made from. A renamed class keeps the key of its first name; a class that takes a
/// name which an earlier class was created under gets a key of its own, so that it never meets the other's actors.
fn unique_key(script: &str, class: &str, migrations: &[Migration]) -> String {
    let mut name = class;
    let mut created_by = 0;
    for (index, step) in migrations.iter().enumerate().rev() {
        // Within a step classes are created before they are renamed.
        for (from, to) in step.renamed_classes.iter().rev() {
            if to == name {
                name = from;
            }
        }
        if step.new_classes.iter().any(|created| created == name) {
            created_by = index;
            break;
        }
    }
    let earlier = &migrations[..created_by];
    match earlier.iter().filter(|step| step.new_classes.iter().any(|created| created == name)).count() {
        0 => format!("{script}-{name}"),
        // A class's name holds no `-`, so this is no other class's key.
        count => format!("{script}-{name}-{}", count + 1),
    }
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

    fn create(class: &str) -> Migration {
        Migration { new_classes: vec![class.into()], renamed_classes: vec![], ..rename(class, class) }
    }

    #[test]
    fn a_class_that_takes_a_used_name_shares_no_ids_with_the_class_before_it() {
        let keys = |migrations: &[Migration]| -> Vec<String> {
            let all = Namespaces::new("chat", &[actor("OLD", "B"), actor("NEW", "A")], migrations);
            all.iter().map(|namespace| namespace.unique_key.clone()).collect()
        };
        assert_eq!(keys(&[create("A"), rename("A", "B"), create("A")]), ["chat-A", "chat-A-2"]);
        assert_eq!(keys(&[create("A"), create("B"), delete("A"), create("A")]), ["chat-B", "chat-A-2"]);
        assert_eq!(keys(&[create("A"), create("B")]), ["chat-B", "chat-A"]);
    }

    #[test]
    fn a_class_created_and_renamed_in_one_step_keeps_its_first_name() {
        let step = Migration { new_classes: vec!["A".into()], ..rename("A", "B") };
        let all = Namespaces::new("chat", &[actor("ROOM", "B")], &[step]);
        assert_eq!(all.iter().map(|namespace| namespace.unique_key.as_str()).collect::<Vec<_>>(), ["chat-A"]);
    }

    fn delete(class: &str) -> Migration {
        Migration { deleted_classes: vec![class.into()], renamed_classes: vec![], ..rename(class, class) }
    }
}
