// WritableStream and TransformStream: order, back-pressure, errors, abort, strategies.
const failure = (promise) =>
  promise.then(
    (value) => `fulfilled: ${value}`,
    (reason) => `${reason?.name ?? reason}: ${reason?.message}`,
  );
const thrown = (f) => {
  try {
    return f();
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
};

export default {
  async fetch() {
    const log = [];
    const stream = new WritableStream(
      {
        start() {
          log.push("start");
        },
        write(chunk) {
          log.push(`write ${chunk}`);
        },
        close() {
          log.push("close");
        },
      },
      { highWaterMark: 2 },
    );
    const writer = stream.getWriter();
    console.log(
      writer.desiredSize,
      stream.locked,
      thrown(() => stream.getWriter()),
      await failure(stream.close()),
      await failure(stream.abort()),
    );
    writer.write("a");
    writer.write("b");
    console.log("full:", writer.desiredSize);
    await writer.ready;
    console.log("ready:", writer.desiredSize);
    const closed = writer.close();
    console.log(await failure(writer.close()), await failure(writer.write("late")));
    await closed;
    console.log(log.join(), await writer.closed, writer.desiredSize);
    writer.releaseLock();
    console.log(
      await failure(writer.closed),
      await failure(writer.write("x")),
      thrown(() => writer.desiredSize),
    );

    let controller;
    const failing = new WritableStream({
      start(c) {
        controller = c;
      },
      write() {
        throw new Error("write");
      },
      abort() {
        log.push("never");
      },
    });
    const f = failing.getWriter();
    console.log(
      await failure(f.write(1)),
      await failure(f.ready),
      await failure(f.closed),
      f.desiredSize,
      await failure(f.abort()),
      controller.signal.aborted,
    );

    const aborted = [];
    const abortable = new WritableStream({
      start(c) {
        controller = c;
      },
      write: () =>
        new Promise((resolve) => {
          controller.signal.addEventListener("abort", () => {
            aborted.push(controller.signal.reason);
            resolve();
          });
        }),
      abort(reason) {
        aborted.push(`sink ${reason}`);
      },
    });
    const w = abortable.getWriter();
    const inFlight = w.write(1);
    const queued = w.write(2);
    await Promise.resolve();
    const abort = w.abort("why");
    console.log(
      await failure(inFlight),
      await failure(queued),
      await failure(abort),
      await failure(w.closed),
      aborted.join(),
    );
    const erroring = new WritableStream({
      start(c) {
        controller = c;
      },
    });
    controller.error(new Error("mine"));
    console.log(
      await failure(erroring.getWriter().write(1)),
      thrown(() => new WritableStreamDefaultController()),
    );
    for (const bad of [
      () => new WritableStream(null),
      () => new WritableStream({ type: "bytes" }),
      () => new WritableStream({ write: 1 }),
      () => new WritableStream({}, { highWaterMark: -1 }),
      () => new WritableStreamDefaultWriter({}),
    ])
      console.log(thrown(bad));
    const sized = new WritableStream(
      {},
      {
        size() {
          throw new Error("size");
        },
      },
    ).getWriter();
    console.log(await failure(sized.write(1)), await failure(sized.closed));

    const seen = [];
    const transform = new TransformStream({
      start(c) {
        c.enqueue("s");
      },
      transform(chunk, c) {
        c.enqueue(chunk + chunk);
      },
      flush(c) {
        c.enqueue("f");
      },
    });
    const into = transform.writable.getWriter();
    into.write("a");
    into.close();
    for await (const chunk of transform.readable) seen.push(chunk);
    console.log(seen.join());
    const identity = new TransformStream();
    identity.writable.getWriter().write("same");
    console.log((await identity.readable.getReader().read()).value);

    const throwing = new TransformStream({
      transform() {
        throw new Error("transform");
      },
    });
    const tw = throwing.writable.getWriter();
    const tr = throwing.readable.getReader();
    const reading = failure(tr.read());
    console.log(await failure(tw.write(1)), await reading, await failure(tw.closed));
    const terminated = new TransformStream(
      {
        transform(chunk, c) {
          c.enqueue(chunk);
          c.terminate();
        },
      },
      undefined,
      { highWaterMark: 1 },
    );
    const uw = terminated.writable.getWriter();
    await uw.write("last");
    const ur = terminated.readable.getReader();
    console.log(JSON.stringify(await ur.read()), JSON.stringify(await ur.read()), await failure(uw.closed));
    const ends = [];
    const cancelable = new TransformStream({
      cancel(reason) {
        ends.push(reason);
      },
    });
    await cancelable.readable.cancel("no more");
    console.log(ends.join(), await failure(cancelable.writable.getWriter().write(1)));
    for (const bad of [
      () => new TransformStream({ readableType: "bytes" }),
      () => new TransformStream({ writableType: 1 }),
      () => new TransformStream({ transform: 1 }),
      () => new TransformStreamDefaultController(),
    ])
      console.log(thrown(bad));
    return new Response("done");
  },
};
