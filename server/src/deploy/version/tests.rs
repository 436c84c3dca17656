//! Swapping versions, and what a version knows of its namespaces.

use lethe_runtime::{
    engine::{self, Engine},
    program::{Module, Source},
};

use super::*;
use crate::deploy::{ActorBinding, Position};

/// A version of the worker `chat`, whose `Room` is bound as `ROOM`.
async fn version() -> Version {
    let engine = Engine::start(engine::Config::default());
    let code = "import { DurableObject } from 'cloudflare:workers'; export class Room extends DurableObject {}";
    let source = Source {
        name: "chat".into(),
        main: "index.js".into(),
        modules: [("index.js".to_owned(), Module::Es(code.into()))].into(),
        env: Default::default(),
        limits: Default::default(),
    };
    let program = engine.compile(source).await.unwrap();
    let at = Position { file: "wrangler.json".into(), line: 1, column: 1 };
    let bound = [ActorBinding { binding: "ROOM".into(), class_name: "Room".into(), at }];
    Version::new("chat".into(), program, Namespaces::new("chat", &bound, &[]), Policy::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pinned_a_version_keeps_it_and_who_comes_later_gets_the_next() {
    let deployments = Deployments::new(version().await);
    let mut watch = deployments.watch();
    let pinned = deployments.current();
    assert!(!watch.has_changed().unwrap());
    let next = version().await;
    let next_id = next.id();
    deployments.replace(next);
    assert_eq!(deployments.current().id(), next_id);
    assert_ne!(pinned.id(), next_id);
    assert!(pinned.id() < next_id, "later versions compare greater");
    assert!(watch.has_changed().unwrap());
    assert_eq!(watch.borrow_and_update().id(), next_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_pinned_while_a_newer_version_may_be_acknowledged() {
    let deployments = Deployments::new(version().await).while_fresh(|| Err(Stale::Lapsed(3_000)));
    assert_eq!(deployments.pin().err(), Some(Stale::Lapsed(3_000)));
}

/// A node that stood still after it took the version: meanwhile another one was acknowledged, and it caught up.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_replaced_before_the_node_is_asked_is_not_pinned() {
    let (first, next) = (version().await, version().await);
    let next_id = next.id();
    let deployments = Deployments::new(first);
    let (catches_up, next) = (deployments.clone(), parking_lot::Mutex::new(Some(next)));
    let deployments = deployments.while_fresh(move || {
        if let Some(next) = next.lock().take() {
            catches_up.replace(next);
        }
        Ok(())
    });
    assert_eq!(deployments.pin().map(|version| version.id()), Ok(next_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_is_dropped_with_its_last_request() {
    let deployments = Deployments::new(version().await);
    let pinned = deployments.current();
    let program = Arc::downgrade(pinned.program());
    deployments.replace(version().await);
    assert!(program.upgrade().is_some());
    drop(pinned);
    assert!(program.upgrade().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_made_and_checked_for_a_namespace_of_the_version() {
    let version = version().await;
    let namespace = version.namespace("ROOM").unwrap().name.clone();
    assert_eq!(version.class_of(&namespace), Ok("Room"));
    let id = version.actor_id(&namespace, &IdSource::Name("lobby".into())).unwrap();
    assert_eq!(Ok(id), Ids::new("chat-Room").from_name("lobby"));
    assert_eq!(version.actor_id(&namespace, &IdSource::Hex(id.to_string())), Ok(id));
    let foreign = Ids::new("chat-Other").from_name("lobby").unwrap();
    let refused = version.actor_id(&namespace, &IdSource::Hex(foreign.to_string()));
    assert_eq!(refused, Err(NameError::Id(IdError::Foreign(foreign))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_or_namespace_the_version_does_not_have_is_named() {
    let version = version().await;
    assert_eq!(version.namespace("Room").unwrap_err().to_string(), "no actor namespace is bound as \"Room\"");
    let gone = version.class_of("chat/Old").unwrap_err().to_string();
    assert_eq!(gone, format!("version {} of the worker has no actor namespace \"chat/Old\"", version.id()));
}
