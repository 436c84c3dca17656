// ReadableStream with default readers: queueing, back-pressure, errors, cancel, tee, iteration, from.
const failure = (promise) =>
  promise.then(
    (value) => `fulfilled: ${JSON.stringify(value)}`,
    (reason) => `${reason.name ?? reason}: ${reason.message}`,
  );
const thrown = (f) => {
  try {
    return f();
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
};
const read = async (stream) => {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks.join();
};

export default {
  async fetch() {
    let controller;
    const pulls = [];
    const stream = new ReadableStream(
      {
        start(c) {
          controller = c;
        },
        pull(c) {
          pulls.push(c.desiredSize);
        },
      },
      { highWaterMark: 2, size: (chunk) => chunk.length },
    );
    console.log(
      controller.desiredSize,
      stream.locked,
      thrown(() => new ReadableStreamDefaultController()),
    );
    controller.enqueue("abc");
    console.log("desired:", controller.desiredSize);
    const reader = stream.getReader();
    console.log(
      JSON.stringify(await reader.read()),
      controller.desiredSize,
      stream.locked,
      thrown(() => stream.getReader()),
    );
    const pending = [reader.read(), reader.read()];
    controller.enqueue("x");
    controller.close();
    console.log(
      JSON.stringify(await Promise.all(pending)),
      await reader.closed,
      thrown(() => controller.enqueue("late")),
      pulls.join(),
    );

    for (const bad of [
      () => new ReadableStream(null),
      () => new ReadableStream({ type: "x" }),
      () => new ReadableStream({ pull: 1 }),
      () => new ReadableStream({}, { highWaterMark: -1 }),
      () => new ReadableStream({}, { highWaterMark: NaN }),
      () => new ReadableStream({}, { size: 1 }),
      () =>
        new ReadableStream({
          start() {
            throw new Error("start");
          },
        }),
      () => new ReadableStream().getReader({ mode: "x" }),
    ])
      console.log(thrown(bad));

    const failing = new ReadableStream({
      pull() {
        throw new Error("pull");
      },
    });
    const f = failing.getReader();
    console.log(await failure(f.read()), await failure(f.closed), await failure(f.cancel()));
    const badSize = new ReadableStream(
      {
        start(c) {
          console.log(thrown(() => c.enqueue(1)));
        },
      },
      { size: () => -1 },
    );
    console.log(await failure(badSize.getReader().read()));

    const canceled = new ReadableStream({
      cancel(reason) {
        return Promise.reject(new Error(`cancel ${reason}`));
      },
    });
    console.log(await failure(canceled.cancel("why")), await failure(canceled.getReader().closed));
    const locked = new ReadableStream();
    const lock = locked.getReader();
    const waiting = lock.read();
    console.log(await failure(locked.cancel()));
    lock.releaseLock();
    console.log(await failure(waiting), await failure(lock.closed), await failure(lock.read()), locked.locked);

    const [left, right] = ReadableStream.from([1, 2, 3]).tee();
    console.log("tee:", await read(left), await read(right));
    const reasons = [];
    const [a, b] = new ReadableStream({
      cancel(reason) {
        reasons.push(reason);
      },
    }).tee();
    const cancelA = a.cancel("A");
    await b.cancel("B");
    await cancelA;
    console.log("both canceled:", JSON.stringify(reasons));

    let returned;
    const source = {
      i: 0,
      [Symbol.asyncIterator]() {
        return this;
      },
      async next() {
        return { value: this.i++, done: this.i > 3 };
      },
      async return(reason) {
        returned = reason;
        return {};
      },
    };
    console.log(
      "from:",
      await read(ReadableStream.from(source)),
      await read(ReadableStream.from("abc")),
      await read(ReadableStream.from([Promise.resolve(1), 2])),
    );
    source.i = 0;
    await ReadableStream.from(source).cancel("stop");
    console.log(
      "return got:",
      returned,
      thrown(() => ReadableStream.from(1)),
      thrown(() => ReadableStream.from({})),
    );

    const ended = [];
    const partial = new ReadableStream({
      start(c) {
        c.enqueue(1);
        c.enqueue(2);
      },
      cancel() {
        ended.push("canceled");
      },
    });
    for await (const chunk of partial) {
      ended.push(chunk);
      break;
    }
    const kept = new ReadableStream({
      start(c) {
        c.enqueue(1);
        c.enqueue(2);
        c.close();
      },
    });
    for await (const chunk of kept.values({ preventCancel: true })) {
      ended.push(chunk);
      break;
    }
    console.log(ended.join(), kept.locked, await read(kept));
    const iterator = new ReadableStream({
      start(c) {
        c.enqueue("i");
        c.error(new Error("mid"));
      },
    })[Symbol.asyncIterator]();
    console.log(
      await failure(iterator.next()),
      JSON.stringify(await iterator.next()),
      JSON.stringify(await iterator.return("r")),
    );
    console.log(
      ReadableStream.prototype.values === ReadableStream.prototype[Symbol.asyncIterator],
      Object.keys(ReadableStream.prototype).join(),
      await failure(ReadableStream.prototype.cancel.call({})),
      thrown(() => ReadableStream.prototype.getReader.call({})),
    );

    const count = new CountQueuingStrategy({ highWaterMark: 3 });
    const length = new ByteLengthQueuingStrategy({ highWaterMark: "4" });
    console.log(
      count.highWaterMark,
      count.size("xx"),
      length.highWaterMark,
      length.size(new Uint8Array(5)),
      count.size === new CountQueuingStrategy({ highWaterMark: 1 }).size,
      thrown(() => new CountQueuingStrategy({})),
    );
    return new Response("done");
  },
};
