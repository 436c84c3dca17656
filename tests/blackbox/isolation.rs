//! A Worker has no past: nothing of one request is seen by another.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
};

use anyhow::Result;
use http::Request;
use lethe_tests::{Options, Project, Server, get, send, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn what_one_request_sets_no_other_request_sees() -> Result<()> {
    let project = Project::new(
        "let calls = 0;
         export default {
           fetch() {
             const seen = [globalThis.x, calls, Array.prototype.mark, String(Response.mark)].join();
             globalThis.x = 'mark'; calls += 1; Array.prototype.mark = 'mark'; Response.mark = 'mark';
             return new Response(seen);
           },
         };",
        &[],
    );
    let server = Server::start(project.path(), &Options::default()).await?;
    for _ in 0..200 {
        assert_eq!(get(&server.http, "/").await?.text(), ",0,,undefined");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_thousand_requests_is_left_in_a_javascript_heap() -> Result<()> {
    let project = Project::new(
        "import { DurableObject } from 'cloudflare:workers';
         export class Keep extends DurableObject {
           hold(value) { this.held = JSON.parse(JSON.stringify(value)); }
           async keep(value) { await this.ctx.storage.put('value', value); return (await this.ctx.storage.get('value')).length; }
         }
         export default {
           async fetch(request, env) {
             if (request.method === 'PUT') {
               await env.KEEP.getByName('holder').hold(await request.text());
               return new Response('held');
             }
             const body = JSON.parse(JSON.stringify({ text: await request.text() }));
             const stub = env.KEEP.getByName(request.headers.get('x-name'));
             const length = await stub.keep(body.text + request.headers.get('x-secret'));
             await stub.destroy();
             return new Response(`${length} ${body.text}`);
           },
         };",
        &[("KEEP", "Keep")],
    );
    let server = Server::start(project.path(), &Options::default()).await?;
    let marker = format!("marker-{}-{}", std::process::id(), server.pid());
    for batch in 0..125 {
        let requests = (0..8).map(|i| {
            let body = format!("{marker}-body");
            let request = Request::post("/")
                .header("x-name", format!("actor-{batch}-{i}"))
                .header("x-secret", format!("{marker}-header"))
                .body(body.clone().into())
                .expect("a valid request");
            let http = server.http.clone();
            async move { (send(&http, request).await, body) }
        });
        for (reply, body) in futures::future::join_all(requests).await {
            let reply = reply?;
            assert_eq!(reply.text(), format!("{} {body}", body.len() + marker.len() + "-header".len()));
        }
    }
    let gone = async || (hits(server.pid(), marker.as_bytes()) == 0).then_some(());
    wait_for("the last isolates to be gone", gone).await;

    // The scan does find what a living isolate holds.
    let held = format!("held-{}", server.pid());
    assert_eq!(send(&server.http, Request::put("/").body(held.clone().into())?).await?.text(), "held");
    assert!(hits(server.pid(), held.as_bytes()) > 0, "the scan finds nothing at all");
    Ok(())
}

/// V8 maps its heaps in pages of this size, at multiples of it.
const HEAP_PAGE_BYTES: u64 = 256 << 10;
/// malloc's arenas start at multiples of this.
const MALLOC_ARENA_BYTES: u64 = 64 << 20;

/// How often `needle` stands in the JavaScript heaps of a process: in what is mapped as V8 maps its heaps.
fn hits(pid: u32, needle: &[u8]) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("the server runs");
    let memory = File::open(format!("/proc/{pid}/mem")).expect("our own child's memory can be read");
    let mut found = 0;
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, access) = (fields.next().expect("a range"), fields.next().expect("access rights"));
        if !access.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').expect("two addresses");
        let address = |text| u64::from_str_radix(text, 16).expect("a hexadecimal address");
        let (start, end) = (address(start), address(end));
        let pages = start % HEAP_PAGE_BYTES == 0 && end % HEAP_PAGE_BYTES == 0;
        if !pages || start % MALLOC_ARENA_BYTES == 0 {
            continue;
        }
        let mut block = vec![0; (end - start) as usize];
        // A mapping may go away between the listing and the read.
        if memory.read_exact_at(&mut block, start).is_ok() {
            found += memchr::memmem::find_iter(&block, needle).count();
        }
    }
    found
}
