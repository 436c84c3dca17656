// A handler's response as real workers write it: written while it is read, passed through, changed on the way.
const encode = (text) => new TextEncoder().encode(text);

export default {
  async fetch(request, env, ctx) {
    const upstream = await fetch("http://mirror/", { method: "POST", body: "upstream", headers: { "x-a": "1" } });
    const changed = new Response(upstream.body, upstream);
    changed.headers.set("x-b", "2");
    console.log(changed.status, changed.headers.get("x-b"), upstream.bodyUsed, await changed.text(), upstream.bodyUsed);

    const source = await fetch("http://mirror/", { method: "POST", body: "shout" });
    const upper = new TransformStream({
      transform(chunk, controller) {
        controller.enqueue(encode(new TextDecoder().decode(chunk).toUpperCase()));
      },
    });
    console.log(await new Response(source.body.pipeThrough(upper)).text());
    const proxied = new Request("http://echo/path", new Request(request, { method: "POST", body: "proxied" }));
    console.log((await (await fetch(proxied)).text()).split("\n").at(-1));
    const parts = await Promise.all(
      ["a", "b", "c"].map(async (body) => (await fetch("http://mirror/", { method: "PUT", body })).text()),
    );
    console.log(parts.join());
    const [left, right] = (await fetch("http://mirror/", { method: "POST", body: "teed" })).body.tee();
    console.log(await new Response(left).text(), await new Response(right).text());

    const { readable, writable } = new TransformStream();
    const write = async () => {
      const writer = writable.getWriter();
      for (const word of ["one ", "two ", "three"]) {
        await writer.write(encode(word));
        await scheduler.wait(1);
      }
      await writer.close();
    };
    ctx.waitUntil(write());
    return new Response(readable, { headers: { "content-type": "text/event-stream" } });
  },
};
