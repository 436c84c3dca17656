// pipeTo and pipeThrough: propagation both ways, prevent options, signals, locks.
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
const sink = (log) =>
  new WritableStream({
    write(chunk) {
      log.push(chunk);
    },
    close() {
      log.push("close");
    },
    abort(reason) {
      log.push(`abort ${reason.message ?? reason}`);
    },
  });
const source = (log, end) =>
  new ReadableStream({
    start(c) {
      c.enqueue(1);
      c.enqueue(2);
      end(c);
    },
    cancel(reason) {
      log.push(`cancel ${reason.message ?? reason}`);
    },
  });
const close = (c) => c.close();
const open = () => {};

export default {
  async fetch() {
    let log = [];
    const target = sink(log);
    const piping = source(log, close).pipeTo(target);
    console.log(target.locked, await failure(piping), log.join(), target.locked);

    log = [];
    const kept = sink(log);
    await source(log, close).pipeTo(kept, { preventClose: true });
    await kept.getWriter().write("more");
    console.log("preventClose:", log.join());

    for (const preventAbort of [false, true]) {
      log = [];
      const errored = new ReadableStream(
        {
          pull(c) {
            c.enqueue(1);
            c.error(new Error("source"));
          },
        },
        { highWaterMark: 0 },
      );
      console.log("preventAbort", preventAbort, await failure(errored.pipeTo(sink(log), { preventAbort })), log.join());
    }
    for (const preventCancel of [false, true]) {
      log = [];
      const broken = new WritableStream({
        write() {
          throw new Error("sink");
        },
      });
      console.log(
        "preventCancel",
        preventCancel,
        await failure(source(log, open).pipeTo(broken, { preventCancel })),
        log.join(),
      );
    }
    log = [];
    const done = sink([]);
    await done.close();
    console.log("closed sink:", await failure(source(log, open).pipeTo(done)), log.join());

    log = [];
    const controller = new AbortController();
    const aborting = source(log, open).pipeTo(sink(log), { signal: controller.signal });
    await scheduler.wait(1);
    controller.abort("stop");
    console.log("signal:", await failure(aborting), log.join());
    log = [];
    const early = source(log, close);
    console.log(
      "aborted before:",
      await failure(early.pipeTo(sink(log), { signal: AbortSignal.abort("before"), preventCancel: true })),
      log.join(),
      early.locked,
    );

    const locked = new ReadableStream();
    locked.getReader();
    console.log(
      await failure(locked.pipeTo(new WritableStream())),
      await failure(new ReadableStream().pipeTo({})),
      await failure(new ReadableStream().pipeTo(new WritableStream(), { signal: {} })),
    );
    console.log(
      thrown(() => locked.pipeThrough(new TransformStream())),
      thrown(() => new ReadableStream().pipeThrough({})),
    );

    const chunks = [];
    const doubled = ReadableStream.from([1, 2, 3])
      .pipeThrough(
        new TransformStream({
          transform(x, c) {
            c.enqueue(2 * x);
          },
        }),
      )
      .pipeThrough(
        new TransformStream({
          transform(x, c) {
            if (x !== 4) c.enqueue(x + 1);
          },
        }),
      );
    for await (const chunk of doubled) chunks.push(chunk);
    console.log(chunks.join());
    let high = 0;
    let inFlight = 0;
    const fast = new ReadableStream({
      i: 0,
      pull(c) {
        inFlight++;
        high = Math.max(high, inFlight);
        if (++this.i > 20) c.close();
        else c.enqueue(this.i);
      },
    });
    await fast.pipeTo(
      new WritableStream({
        async write() {
          await scheduler.wait(0);
          inFlight--;
        },
      }),
    );
    console.log("back-pressure keeps the queue short:", high <= 3);
    return new Response("done");
  },
};
