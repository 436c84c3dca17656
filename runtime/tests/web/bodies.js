// Reading bodies: every form, once; locked and disturbed streams; what goes wrong.
const failure = (promise) =>
  promise.then(
    (value) => `fulfilled: ${value}`,
    (reason) => `${reason.name}: ${reason.message}`,
  );

export default {
  async fetch() {
    const make = () => new Response('\ufeff{"a":"\u20ac"}');
    console.log(
      JSON.stringify(await make().text()),
      (await make().json()).a,
      (await make().bytes()).length,
      (await make().arrayBuffer()).byteLength,
      (await make().blob()).size,
    );
    console.log(JSON.stringify(await new Response(new Uint8Array([0xef, 0xbb, 0xbf, 0x61, 0xff])).text()));
    console.log(
      "nothing:",
      JSON.stringify(await new Response().text()),
      (await new Response().bytes()).length,
      await failure(new Response().json()),
    );
    console.log("lone surrogate:", JSON.stringify(await new Response("a\ud800b").text()));

    const once = make();
    const first = once.text();
    console.log("used at once:", once.bodyUsed, once.body.locked, await failure(once.text()));
    await first;
    const peeked = make();
    const stream = peeked.body;
    console.log(
      "the same stream every time:",
      stream === peeked.body,
      stream instanceof ReadableStream,
      peeked.bodyUsed,
    );
    const reader = stream.getReader();
    console.log("locked:", await failure(peeked.text()), peeked.bodyUsed);
    const { value } = await reader.read();
    console.log("read:", value.length, value.constructor.name, peeked.bodyUsed, (await reader.read()).done);
    reader.releaseLock();
    console.log("disturbed:", await failure(peeked.text()));

    const changed = new Uint8Array([1, 2, 3]);
    const copied = new Response(changed);
    changed[0] = 9;
    const result = await copied.bytes();
    console.log("bytes are copied:", result.join());

    const wrong = new Response(ReadableStream.from(["text"]));
    console.log("chunks must be bytes:", await failure(wrong.text()));
    const failing = new Response(
      new ReadableStream({
        pull() {
          throw new RangeError("source");
        },
      }),
    );
    console.log("a failing stream:", await failure(failing.text()));
    const errored = new Response(
      new ReadableStream({
        start(c) {
          c.error(new Error("early"));
        },
      }),
    );
    console.log("an errored stream:", await failure(errored.arrayBuffer()));
    const locked = new ReadableStream();
    locked.getReader();
    try {
      new Response(locked);
    } catch (error) {
      console.log("a locked stream as body:", error.name);
    }
    console.log("bad JSON:", (await failure(new Response("{").json())).slice(0, 12));

    Object.prototype.then = (resolve) => resolve("intercepted");
    const safe = await new Response(
      new ReadableStream({
        start(c) {
          c.enqueue(new Uint8Array([104, 105]));
          c.close();
        },
      }),
    ).text();
    delete Object.prototype.then;
    console.log("a then() on Object.prototype sees no chunk:", safe);

    const byob = new Response("hello").body.getReader({ mode: "byob" });
    const parts = [];
    for (let step; !(step = await byob.read(new Uint8Array(2))).done;) parts.push(String.fromCharCode(...step.value));
    console.log("byte reads:", parts.join("|"));
    return new Response("done");
  },
};
