//! What a node serves before anything was deployed: a Worker that says so.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use lethe_runtime::{
    engine::Engine,
    program::{Limits, Module, Source},
};

use crate::{
    deploy::{Namespaces, Version},
    egress::Policy,
};

const MAIN: &str = "index.js";

/// Answers every request with 503 and what to do about it.
const WORKER: &str = r#"const text = "503 Service Unavailable: nothing is deployed on this cluster yet.\n"
  + "Deploy a project with: lethe deploy DIR\n";
const headers = { "content-type": "text/plain; charset=utf-8" };
export default { fetch: () => new Response(text, { status: 503, headers }) };
"#;

/// The version that stands for no version.
pub(super) async fn version(engine: &Engine) -> Result<Version> {
    let source = Source {
        name: "nothing".into(),
        main: MAIN.into(),
        modules: BTreeMap::from([(MAIN.into(), Module::Es(WORKER.into()))]),
        env: BTreeMap::new(),
        limits: Limits::default(),
    };
    let program = engine.compile(source).await.context("the built-in Worker")?;
    Ok(Version::new(
        "nothing".into(),
        program,
        Namespaces::default(),
        Policy { allow_private: false, allow: Vec::new() },
    ))
}
