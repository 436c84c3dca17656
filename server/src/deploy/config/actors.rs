//! Actor namespaces of a configuration, and the history of their classes (`migrations`).

use super::{
    super::error::{Error, Position},
    reader::{Document, Table},
};

/// A name in `env` that stands for an actor namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorBinding {
    /// The name in `env`.
    pub binding: String,
    /// The exported class that implements it.
    pub class_name: String,
    /// Where the configuration says so.
    pub at: Position,
}

/// One step in the history of a worker's actor classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The step's unique name.
    pub tag: String,
    /// Classes created by it (`new_classes` and `new_sqlite_classes`, which are one here).
    pub new_classes: Vec<String>,
    /// Classes that got another name: (from, to).
    pub renamed_classes: Vec<(String, String)>,
    /// Classes deleted by it.
    pub deleted_classes: Vec<String>,
    /// Where the configuration says so.
    pub at: Position,
}

pub(super) fn read_bindings(
    document: &Document<'_>,
    table: &mut Table<'_>,
    script: &str,
) -> Result<Vec<ActorBinding>, Error> {
    let mut actors: Vec<ActorBinding> = Vec::new();
    let Some(mut objects) = table.table("durable_objects")? else { return Ok(actors) };
    for mut row in objects.tables("bindings")? {
        let (binding, binding_at) = row.required_text("name", "it is the binding's name in `env`")?;
        check_identifier(document, &row.name("name"), binding, binding_at)?;
        let (class_name, class_at) = row.required_text("class_name", "it is the exported class of the actors")?;
        check_identifier(document, &row.name("class_name"), class_name, class_at)?;
        if let Some((other, at)) = row.text("script_name")?.filter(|(other, _)| *other != script) {
            let key = row.name("script_name");
            let message =
                format!("`{key}` names another worker, {other:?}: only this worker's own classes can be bound");
            return Err(document.error(at, message));
        }
        if actors.iter().any(|actor| actor.binding == binding) {
            return Err(document.error(binding_at, format!("two bindings are named `{binding}`")));
        }
        row.ignore(&["environment"], Some("has no effect"));
        row.done();
        let at = Position::of(document.file, document.text, class_at);
        actors.push(ActorBinding { binding: binding.to_owned(), class_name: class_name.to_owned(), at });
    }
    objects.done();
    Ok(actors)
}

pub(super) fn read_migrations(document: &Document<'_>, table: &mut Table<'_>) -> Result<Vec<Migration>, Error> {
    let mut migrations: Vec<Migration> = Vec::new();
    for mut row in table.tables("migrations")? {
        let (tag, tag_at) = row.required_text("tag", "it is the step's unique name, like \"v1\"")?;
        if migrations.iter().any(|earlier| earlier.tag == tag) {
            return Err(document.error(tag_at, format!("two migrations have the tag {tag:?}")));
        }
        let mut new_classes = row.texts("new_classes")?;
        new_classes.extend(row.texts("new_sqlite_classes")?);
        let mut renamed_classes = Vec::new();
        for mut rename in row.tables("renamed_classes")? {
            let (from, _) = rename.required_text("from", "it is the class's old name")?;
            let (to, _) = rename.required_text("to", "it is the class's new name")?;
            rename.done();
            renamed_classes.push((from.to_owned(), to.to_owned()));
        }
        let deleted = row.texts("deleted_classes")?;
        if let Some(entry) = row.take_entry("transferred_classes") {
            let message = "`transferred_classes` is not supported: there is no other worker to take actors from";
            return Err(document.error(entry.key_at, message));
        }
        let at = Position::of(document.file, document.text, tag_at);
        let owned = |list: Vec<(&str, usize)>| list.into_iter().map(|(class, _)| class.to_owned()).collect();
        migrations.push(Migration {
            tag: tag.to_owned(),
            new_classes: owned(new_classes),
            renamed_classes,
            deleted_classes: owned(deleted),
            at,
        });
        row.done();
    }
    Ok(migrations)
}

/// Replays the history: each step must fit the classes that the steps before it left, and what is bound must remain.
pub(super) fn check_migrations(
    document: &Document<'_>,
    actors: &[ActorBinding],
    migrations: &[Migration],
) -> Result<(), Error> {
    let mut classes: Vec<&str> = Vec::new();
    for step in migrations {
        let fail =
            |what: String| Err(Error::At { at: step.at.clone(), message: format!("migration {:?} {what}", step.tag) });
        for class in &step.new_classes {
            if classes.contains(&class.as_str()) {
                return fail(format!("creates `{class}`, which exists already"));
            }
            classes.push(class);
        }
        for (from, to) in &step.renamed_classes {
            if classes.contains(&to.as_str()) {
                return fail(format!("renames `{from}` to `{to}`, which exists already"));
            }
            let Some(class) = classes.iter_mut().find(|class| **class == from) else {
                return fail(format!("renames `{from}`, which no earlier step created"));
            };
            *class = to;
        }
        for class in &step.deleted_classes {
            let Some(index) = classes.iter().position(|known| known == class) else {
                return fail(format!("deletes `{class}`, which no earlier step created"));
            };
            classes.remove(index);
        }
    }
    for actor in actors {
        if classes.contains(&actor.class_name.as_str()) {
            continue;
        }
        let class = &actor.class_name;
        if migrations.iter().any(|step| step.deleted_classes.contains(class)) {
            let message = format!("`{class}` is bound as `{}`, but a migration deletes it", actor.binding);
            return Err(Error::At { at: actor.at.clone(), message });
        }
        if let Some(step) = migrations.iter().find(|step| step.renamed_classes.iter().any(|(from, _)| from == class)) {
            let message = format!("`{class}` is bound as `{}`, but migration {:?} renames it", actor.binding, step.tag);
            return Err(Error::At { at: actor.at.clone(), message });
        }
        let message =
            format!("no migration creates `{class}`: add it to `new_sqlite_classes` of a step in `migrations`");
        document.warn_at(actor.at.clone(), message);
    }
    Ok(())
}

fn check_identifier(document: &Document<'_>, key: &str, text: &str, at: usize) -> Result<(), Error> {
    let starts = |c: char| c.is_alphabetic() || c == '_' || c == '$';
    let fits = text.starts_with(starts) && text.chars().all(|c| starts(c) || c.is_alphanumeric());
    if fits && text.len() <= 255 {
        return Ok(());
    }
    Err(document.error(at, format!("`{key}` must be a JavaScript name like \"Room\", not {text:?}")))
}
