// Request: construction from URLs and requests, methods, bodies, signals.
const thrown = (f) => {
  try {
    return f();
  } catch (error) {
    return error.name;
  }
};

export default {
  async fetch(incoming) {
    console.log(
      incoming.method,
      incoming.url,
      incoming.redirect,
      incoming.body,
      incoming.signal.aborted,
      incoming instanceof Request,
    );
    const request = new Request("HTTP://example.com/%41?q#f", { method: "post", body: "b", headers: { a: "1" } });
    console.log(
      request.method,
      request.url,
      request.headers.get("content-type"),
      request.redirect,
      request.duplex,
      request.keepalive,
    );
    for (const method of ["get", "PuT", "patch", "PATCH", "custom", "connect", "TRACE", "a b", ""]) {
      console.log(
        JSON.stringify(method),
        thrown(() => new Request("http://x/", { method }).method),
      );
    }
    for (const bad of ["", "/a", "http://", "http://u@x/", "http://:p@x/", "about:blank"])
      console.log(
        JSON.stringify(bad),
        thrown(() => new Request(bad).url),
      );
    for (const init of [
      { method: "GET", body: "" },
      { method: "HEAD", body: "" },
      { redirect: "never" },
      { signal: {} },
      { signal: null },
      { cache: "x" },
      { duplex: "full" },
      { method: "POST", body: null },
    ]) {
      console.log(
        JSON.stringify(init),
        thrown(() => new Request("http://x/", init).method),
      );
    }

    const moved = new Request(request, { headers: { b: "2" } });
    console.log(
      "a body moves:",
      request.bodyUsed,
      moved.bodyUsed,
      moved.method,
      [...moved.headers].join("; "),
      await moved.text(),
    );
    console.log(
      "a used request:",
      thrown(() => new Request(request)),
      thrown(() => new Request(request, { body: "other" }).method),
      thrown(() => request.clone()),
    );
    console.log(
      "a new body:",
      await new Request(new Request("http://x/", { method: "PUT", body: "old" }), { body: "new" }).text(),
    );
    console.log(
      "GET of a POST with a body:",
      thrown(() => new Request(new Request("http://x/", { method: "POST", body: "b" }), { method: "GET" })),
    );

    const stream = new ReadableStream({
      start(c) {
        c.enqueue(new TextEncoder().encode("streamed"));
        c.close();
      },
    });
    const uploading = new Request("http://x/", { method: "POST", body: stream, duplex: "half" });
    const proxy = new Request(uploading);
    console.log("a stream moves:", uploading.bodyUsed, stream.locked, await proxy.text());

    const controller = new AbortController();
    const watched = new Request("http://x/", { signal: controller.signal });
    const copy = watched.clone();
    const inherited = new Request(watched);
    const detached = new Request(watched, { signal: null });
    controller.abort("why");
    console.log(
      "signals follow:",
      watched.signal === controller.signal,
      watched.signal.reason,
      copy.signal.reason,
      inherited.signal.reason,
      detached.signal.aborted,
    );

    const order = [];
    const init = new Proxy(
      {},
      {
        get(target, key) {
          order.push(key);
          return undefined;
        },
      },
    );
    new Request("http://x/", init);
    console.log("members are read in order:", order.join());
    const url = {
      toString() {
        return "http://x/from-object";
      },
    };
    console.log(
      new Request(url).url,
      new Request(new URL("http://x/url")).url,
      thrown(() => new Request()),
    );
    console.log(Object.prototype.toString.call(request), Request.length, Object.keys(Request.prototype).sort().join());
    return new Response("done");
  },
};
