//! Acknowledged writes survive kill -9, and damaged files are refused with a clear error.

use anyhow::Result;
use lethe_tests::{Options, Project, Server, get};

const COUNTER: &str = "
import { DurableObject } from 'cloudflare:workers';
export class Counter extends DurableObject {
  async add() { const n = ((await this.ctx.storage.get('n')) ?? 0) + 1; this.ctx.storage.put('n', n); return n; }
}
export default {
  async fetch(request, env) {
    return new Response(String(await env.COUNTER.getByName(new URL(request.url).pathname).add()));
  },
};";

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_kill_9() -> Result<()> {
    let project = Project::new(COUNTER, &[("COUNTER", "Counter")]);
    let data = tempfile::tempdir()?;
    let options = Options { data_dir: Some(data.path().to_owned()), ..Options::default() };
    let mut acknowledged = [0_u64; 4];
    for _round in 0..4 {
        let server = Server::start(project.path(), &options).await?;
        for _ in 0..5 {
            for (key, last) in acknowledged.iter_mut().enumerate() {
                let next: u64 = get(&server.http, &format!("/{key}")).await?.text().parse()?;
                assert_eq!(next, *last + 1, "an acknowledged count was lost or doubled");
                *last = next;
            }
        }
        server.kill().await?;
    }
    assert_eq!(acknowledged, [20; 4]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_data_directory_is_refused() -> Result<()> {
    let project = Project::new(COUNTER, &[("COUNTER", "Counter")]);
    let data = tempfile::tempdir()?;
    let options = Options { data_dir: Some(data.path().to_owned()), ..Options::default() };
    let _first = Server::start(project.path(), &options).await?;
    let error = Server::start(project.path(), &options).await.err().expect("must be refused").to_string();
    assert!(error.contains("in use") || error.contains("lock"), "{error}");
    Ok(())
}
