//! Actors over HTTP and gRPC: methods, ids, storage, errors, destruction.

use anyhow::Result;
use http::StatusCode;
use lethe_tests::{Options, Project, Server, get};

/// A worker that hands `/NAME/METHOD?ARG` to an actor, and answers with its result or error as JSON.
const FRONT: &str = "
import { DurableObject } from 'cloudflare:workers';
export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    const [, name, method] = url.pathname.split('/');
    const stub = env.ACTOR.getByName(name);
    try {
      if (method === 'destroy') { await stub.destroy(); return Response.json({ destroyed: true }); }
      const arg = url.search ? JSON.parse(decodeURIComponent(url.search.slice(1))) : undefined;
      return Response.json({ value: (await stub[method](arg)) ?? null });
    } catch (error) {
      return Response.json({ name: error.name, message: error.message }, { status: 409 });
    }
  },
};
";

fn project(class: &str) -> Project {
    Project::new(&format!("{FRONT}\nexport class Actor extends DurableObject {{ {class} }}"), &[("ACTOR", "Actor")])
}

async fn call(server: &Server, path: &str) -> Result<serde_json::Value> {
    Ok(serde_json::from_slice(&get(&server.http, path).await?.body)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_counts_and_keeps_its_count_when_it_leaves_memory() -> Result<()> {
    let project = project(
        "instances = 0;
         async add(n) { const sum = ((await this.ctx.storage.get('sum')) ?? 0) + n; await this.ctx.storage.put('sum', sum); return sum; }
         calls() { return ++this.instances; }",
    );
    let server = Server::start(project.path(), &Options::default()).await?;
    assert_eq!(call(&server, "/a/add?2").await?["value"], 2);
    assert_eq!(call(&server, "/a/add?3").await?["value"], 5);
    assert_eq!(call(&server, "/b/add?10").await?["value"], 10);
    assert_eq!(call(&server, "/a/calls").await?["value"], 1);
    assert_eq!(call(&server, "/a/calls").await?["value"], 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_read_modify_writes_lose_nothing() -> Result<()> {
    let project = project(
        "async add(n) { const sum = ((await this.ctx.storage.get('sum')) ?? 0) + n; await this.ctx.storage.put('sum', sum); return sum; }",
    );
    let server = Server::start(project.path(), &Options::default()).await?;
    let calls = (0..100).map(|_| call(&server, "/a/add?1"));
    let mut sums = Vec::new();
    for reply in futures::future::join_all(calls).await {
        sums.push(reply?["value"].as_u64().expect("a number"));
    }
    sums.sort_unstable();
    assert_eq!(sums, (1..=100).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_s_error_arrives_with_name_and_message_and_the_actor_lives_on() -> Result<()> {
    let project = project("fail() { throw new RangeError('no more'); } ok() { return 'fine'; }");
    let server = Server::start(project.path(), &Options::default()).await?;
    let error = call(&server, "/a/fail").await?;
    assert_eq!((error["name"].as_str(), error["message"].as_str()), (Some("RangeError"), Some("no more")));
    assert_eq!(call(&server, "/a/ok").await?["value"], "fine");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destroyed_actor_answers_nothing_ever_again() -> Result<()> {
    let project =
        project("async put(v) { await this.ctx.storage.put('v', v); } get() { return this.ctx.storage.get('v'); }");
    let data = tempfile::tempdir()?;
    let options = Options { data_dir: Some(data.path().to_owned()), ..Options::default() };
    let server = Server::start(project.path(), &options).await?;
    call(&server, "/a/put?%22secret%22").await?;
    assert_eq!(call(&server, "/a/get").await?["value"], "secret");
    assert_eq!(call(&server, "/a/destroy").await?["destroyed"], true);
    assert_eq!(call(&server, "/a/get").await?["name"], "ActorDestroyed");
    assert_eq!(call(&server, "/a/destroy").await?["destroyed"], true, "destroying twice is no error");
    server.kill().await?;
    let server = Server::start(project.path(), &options).await?;
    let reply = get(&server.http, "/a/put?1").await?;
    assert_eq!(reply.status(), StatusCode::CONFLICT);
    assert!(reply.text().contains("ActorDestroyed"), "{}", reply.text());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_another_namespace_is_refused() -> Result<()> {
    let project = Project::new(
        "import { DurableObject } from 'cloudflare:workers';
         export class A extends DurableObject {}
         export class B extends DurableObject {}
         export default {
           fetch(request, env) {
             const id = env.A.newUniqueId();
             try { env.B.idFromString(id.toString()); } catch (error) { return new Response(`${error.name}: ${error.message}`); }
             return new Response('taken');
           },
         };",
        &[("A", "A"), ("B", "B")],
    );
    let server = Server::start(project.path(), &Options::default()).await?;
    let text = get(&server.http, "/").await?.text();
    assert!(text.starts_with("TypeError: actor id ") && text.contains("does not belong to this namespace"), "{text}");
    Ok(())
}
