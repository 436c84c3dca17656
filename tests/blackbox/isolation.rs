//! A Worker has no past: nothing of one request is seen by another.

use anyhow::Result;
use lethe_tests::{Options, Project, Server, get};

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
