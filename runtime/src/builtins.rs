//! The built-in JavaScript as `build.rs` made it: a startup snapshot, and source with code cache for what is lazy.

/// The startup snapshot, with all eager builtins evaluated.
pub(crate) static SNAPSHOT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/snapshot.bin"));

/// A builtin that is evaluated when it is first used.
pub(crate) struct Builtin {
    /// Name for `lethe.use`.
    pub(crate) name: &'static str,
    /// Name in stack traces.
    pub(crate) origin: &'static str,
    /// Source text.
    pub(crate) source: &'static v8::OneByteConst,
    /// V8's code cache.
    pub(crate) cache: &'static [u8],
}

/// The source texts of all builtins by name. The snapshot refers to them by their places.
pub(crate) static SOURCES: &[v8::OneByteConst] = &include!(concat!(env!("OUT_DIR"), "/sources.rs"));

static LAZY: &[Builtin] = &include!(concat!(env!("OUT_DIR"), "/builtins.rs"));

/// The lazy builtin of that name.
pub(crate) fn find(name: &str) -> Option<&'static Builtin> {
    LAZY.iter().find(|builtin| builtin.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_worker_that_answers_reads_its_url_or_calls_an_actor_touches_is_eager() {
        let eager: Vec<&str> = include_str!(concat!(env!("OUT_DIR"), "/eager.txt")).lines().collect();
        assert_eq!(
            eager,
            [
                "globals",
                "primordials",
                "webidl",
                "headers",
                "evaluated",
                "body",
                "request",
                "response",
                "fetch",
                "console",
                "microtask",
                "url",
                "url_search_params",
                "context",
                "entry",
                "actor_wire",
                "actors",
                "workers"
            ]
        );
    }

    #[test]
    fn the_reference_names_every_global() {
        let reference = include_str!("../../docs/reference.md");
        // Names are the quoted words of the table; its keys are not quoted.
        let quoted = |line: &'static str| line.split('"').skip(1).step_by(2);
        let lines = include_str!("../js/globals.js").lines().filter(|line| line.contains(": ["));
        let names: Vec<&str> = lines.flat_map(quoted).collect();
        assert!(names.len() > 50, "{names:?}");
        for name in names {
            assert!(reference.contains(&format!("`{name}`")), "docs/reference.md does not name {name}");
        }
    }

    #[test]
    fn lazy_builtins_are_found_by_name() {
        assert!(find("timers").is_some());
        assert!(find("no such builtin").is_none());
    }
}
