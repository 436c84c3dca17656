// fetch: what goes out, what comes back, redirects, abort, streaming.
const failure = (promise) =>
  promise.then(
    () => "fulfilled",
    (reason) => `${reason.name}: ${reason.message}`,
  );
const echo = async (url, init) => (await (await fetch(url, init)).text()).trim().replaceAll("\n", " | ");

export default {
  async fetch(incoming) {
    console.log(await echo("http://echo/a?b#c"));
    console.log(await echo("http://echo/", { method: "POST", body: "text", headers: { A: "1", accept: "x" } }));
    console.log(await echo(new Request("http://echo/r", { method: "PUT", body: new Uint8Array([104, 105]) })));
    console.log(
      await echo("http://echo/s", {
        method: "POST",
        body: ReadableStream.from([new Uint8Array([97]), new Uint8Array([98])]),
      }),
    );
    console.log(await echo("http://echo/f", { method: "POST", body: new URLSearchParams({ q: "1 2" }) }));

    const response = await fetch("http://echo/");
    console.log(
      response.status,
      response.type,
      response.url,
      response.redirected,
      response.body instanceof ReadableStream,
    );
    try {
      response.headers.set("a", "b");
    } catch (error) {
      console.log(error.name);
    }
    console.log("no body:", (await fetch("http://echo/", { method: "HEAD" })).body);

    const mirrored = await fetch("http://mirror/", { method: "POST", body: "through" });
    const again = await fetch("http://mirror/", { method: "POST", body: mirrored.body });
    console.log("a body passes through:", await new Response(again.body).text(), mirrored.bodyUsed);
    const teed = (await fetch("http://mirror/", { method: "POST", body: "both" })).clone();
    console.log("clone:", await teed.text());

    console.log(
      "redirects:",
      (await fetch("http://hops/3")).url,
      (await fetch("http://hops/20")).redirected,
      await failure(fetch("http://hops/21")),
    );
    console.log(
      "manual:",
      (await fetch("http://hops/1", { redirect: "manual" })).status,
      "error:",
      await failure(fetch("http://hops/1", { redirect: "error" })),
    );
    for (const [status, method] of [
      [301, "POST"],
      [302, "POST"],
      [302, "PUT"],
      [303, "PUT"],
      [303, "HEAD"],
      [307, "POST"],
      [308, "PUT"],
    ]) {
      const body = method === "HEAD" ? undefined : "kept";
      console.log(
        status,
        method,
        "becomes",
        await echo(`http://redirect/${status}?http://echo/x`, {
          method,
          body,
          headers: { authorization: "secret", "content-language": "en", other: "o" },
        }),
      );
    }
    const stream = () =>
      new ReadableStream({
        start(c) {
          c.enqueue(new Uint8Array([1]));
          c.close();
        },
      });
    console.log(
      "a stream is not sent twice:",
      await failure(fetch("http://redirect/307?http://echo/", { method: "POST", body: stream() })),
    );
    console.log(
      "after 303 it need not be:",
      (await fetch("http://redirect/303?http://echo/", { method: "POST", body: stream() })).status,
    );
    console.log(
      "fragment:",
      (await fetch("http://hops/1#frag")).url,
      "bytes:",
      (await fetch("http://redirect/302?http://echo/%C3%A9")).url,
    );
    console.log(
      "bad targets:",
      await failure(fetch("http://redirect/302?ftp://x/")),
      await failure(fetch("http://redirect/302?http://:x/")),
    );
    for (const data of [
      "data:,a%20b#f",
      "data:text/html;charset=utf-8;base64,aGk=",
      "data:;charset=x,y",
      "data:bad,z",
    ]) {
      const loaded = await fetch(data);
      console.log(loaded.url, loaded.headers.get("content-type"), await loaded.text());
    }
    console.log(
      "other schemes:",
      await failure(fetch("data:x")),
      await failure(fetch("data:;base64,*")),
      await failure(fetch("file:///etc/passwd")),
    );
    console.log(
      "refused:",
      await failure(fetch("http://nowhere/")),
      await failure(fetch()),
      await failure(fetch("relative")),
    );

    const early = AbortSignal.abort("early");
    console.log(await fetch("http://echo/", { signal: early }).catch((reason) => reason));
    const waiting = new AbortController();
    const never = fetch("http://never/", { signal: waiting.signal });
    waiting.abort();
    console.log("while waiting:", await failure(never));
    const timed = await failure(fetch("http://never/", { signal: AbortSignal.timeout(5) }));
    console.log("timeout:", timed);
    const late = new AbortController();
    const endless = await fetch("http://endless/", { signal: late.signal });
    const reader = endless.body.getReader();
    console.log("endless:", new TextDecoder().decode((await reader.read()).value));
    const pending = reader.read();
    late.abort();
    await pending.catch(() => {});
    console.log("while reading:", await failure(reader.read()), await failure(reader.closed));
    const cut = new AbortController();
    const consumed = (await fetch("http://endless/", { signal: cut.signal })).text();
    await scheduler.wait(1);
    cut.abort("cut");
    console.log("while consuming:", await consumed.catch((reason) => reason));
    const canceled = await fetch("http://endless/");
    console.log("cancel:", await canceled.body.cancel("enough"), canceled.bodyUsed);

    const source = {
      cancel(reason) {
        console.log("the upload was canceled:", reason);
      },
    };
    const uploading = new AbortController();
    const upload = fetch("http://never/", {
      method: "POST",
      body: new ReadableStream(source),
      signal: AbortSignal.abort("before"),
    });
    console.log(await upload.catch((reason) => reason));
    const broken = new ReadableStream({
      pull() {
        throw new RangeError("no more");
      },
    });
    console.log("a failing upload:", await failure(fetch("http://echo/", { method: "POST", body: broken })));
    return new Response("done");
  },
};
