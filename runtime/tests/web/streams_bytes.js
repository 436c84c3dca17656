// Byte streams: BYOB readers and requests, auto-allocation, min, tee, detaching.
const failure = (promise) =>
  promise.then(
    (value) => `fulfilled: ${JSON.stringify(value)}`,
    (reason) => `${reason.name}: ${reason.message}`,
  );
const thrown = (f) => {
  try {
    return f();
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
};
const bytes = (...list) => new Uint8Array(list);
const show = ({ value, done }) =>
  `${value === undefined ? value : `${value.constructor.name}[${[...new Uint8Array(value.buffer, value.byteOffset, value.byteLength)]}]`} ${done}`;

export default {
  async fetch() {
    const answers = [];
    const stream = new ReadableStream({
      type: "bytes",
      pull(controller) {
        const request = controller.byobRequest;
        answers.push(request.view.byteLength);
        request.view[0] = answers.length;
        request.respond(1);
      },
    });
    const reader = stream.getReader({ mode: "byob" });
    console.log(
      show(await reader.read(new Uint8Array(4))),
      show(await reader.read(new Uint8Array(2), { min: 2 })),
      answers.join(),
    );
    const given = new Uint8Array(3);
    const back = await reader.read(given);
    console.log("memory moves:", given.byteLength, given.buffer.detached, back.value.buffer.byteLength);

    const queued = () =>
      new ReadableStream({
        type: "bytes",
        start(c) {
          c.enqueue(bytes(1, 2, 3));
          c.enqueue(bytes(4, 5));
          c.close();
        },
      });
    const words = queued().getReader({ mode: "byob" });
    console.log(
      show(await words.read(new Uint16Array(1))),
      show(await words.read(new DataView(new ArrayBuffer(2)))),
      await failure(words.read(new Uint16Array(4))),
      await failure(words.closed),
    );
    const whole = queued().getReader({ mode: "byob" });
    console.log(
      show(await whole.read(new Uint8Array(10), { min: 5 })),
      show(await whole.read(new Uint8Array(1))),
      await whole.closed,
    );
    const plain = queued().getReader();
    console.log(show(await plain.read()), show(await plain.read()), show(await plain.read()));

    const auto = new ReadableStream({
      type: "bytes",
      autoAllocateChunkSize: 8,
      pull(c) {
        c.byobRequest.view.set([7, 8]);
        c.byobRequest.respond(2);
      },
    });
    console.log("auto:", show(await auto.getReader().read()));
    let kept;
    const other = new ReadableStream({
      type: "bytes",
      pull(c) {
        kept = c.byobRequest;
        kept.respondWithNewView(new Uint8Array(kept.view.buffer, 0, 2).fill(9));
      },
    });
    console.log(
      "new view:",
      show(await other.getReader({ mode: "byob" }).read(new Uint8Array(3))),
      kept.view,
      thrown(() => kept.respond(1)),
    );

    const checks = new ReadableStream({ type: "bytes" }).getReader({ mode: "byob" });
    for (const [view, options] of [
      [undefined],
      [new Uint8Array(0)],
      [new Uint8Array(1), { min: 0 }],
      [new Uint8Array(1), { min: 2 }],
      [new Uint8Array(1), { min: -1 }],
    ])
      console.log(await failure(checks.read(view, options)));
    let controller;
    new ReadableStream({
      type: "bytes",
      start(c) {
        controller = c;
      },
    });
    console.log(
      controller.desiredSize,
      controller.byobRequest,
      thrown(() => controller.enqueue(bytes())),
      thrown(() => controller.enqueue("x")),
      controller.enqueue(bytes(1)),
      controller.desiredSize,
    );
    controller.close();
    console.log(
      thrown(() => controller.close()),
      thrown(() => controller.enqueue(bytes(1))),
    );
    for (const bad of [
      () => new ReadableStream({ type: "bytes" }, { size() {} }),
      () => new ReadableStream({ type: "bytes", autoAllocateChunkSize: 0 }),
      () => new ReadableStream().getReader({ mode: "byob" }),
    ])
      console.log(thrown(bad));

    const [a, b] = queued().tee();
    const ra = a.getReader({ mode: "byob" });
    const rb = b.getReader();
    console.log(
      "tee:",
      show(await ra.read(new Uint8Array(2))),
      show(await rb.read()),
      show(await ra.read(new Uint8Array(9))),
      show(await rb.read()),
      show(await rb.read()),
      show(await ra.read(new Uint8Array(1))),
    );
    const canceled = [];
    const [c, d] = new ReadableStream({
      type: "bytes",
      cancel(reason) {
        canceled.push(reason);
      },
    }).tee();
    const first = c.cancel(1);
    await d.cancel(2);
    await first;
    console.log(JSON.stringify(canceled));

    let source;
    const pendingStream = new ReadableStream({
      type: "bytes",
      start(s) {
        source = s;
      },
    });
    const pendingReader = pendingStream.getReader({ mode: "byob" });
    const pending = pendingReader.read(new Uint8Array(4));
    pendingReader.releaseLock();
    source.byobRequest.view[0] = 5;
    source.byobRequest.respond(1);
    console.log("after a release:", await failure(pending), show(await pendingStream.getReader().read()));
    const closing = new ReadableStream({
      type: "bytes",
      start(s) {
        source = s;
      },
    }).getReader({ mode: "byob" });
    const last = closing.read(new Uint8Array(4));
    source.close();
    source.byobRequest.respond(0);
    console.log("closed while reading:", show(await last));
    return new Response("done");
  },
};
