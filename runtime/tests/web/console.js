// console: formats, objects, groups, counters, tables, bounds.
export default {
  async fetch() {
    console.log("%s %d %i %f %j %o %O %% %c!", "s", "1.5", 1.5, "2.5", { a: 1 }, [1], { b: 2 }, "css", "rest", 1);
    console.log("%s|%s|%s|%d|%x", Symbol("a"), 12n, { toString: () => "own" }, {}, "kept %s");
    console.log("100%", "no format", -0, 0, 12n, null, undefined, true, Symbol.iterator);
    console.log({
      a: 1,
      b: "x",
      c: [1, 2, 3],
      d: { e: { f: { g: 1 } } },
      "k-e": undefined,
      [Symbol("s")]: null,
      get q() {
        throw new Error("never called");
      },
      set w(_) {},
    });
    class Foo {
      constructor() {
        this.self = this;
      }
    }
    console.log(
      new Foo(),
      class A extends Foo {},
      class {},
      function named() {},
      () => {},
      async () => {},
      function* g() {},
    );
    console.log([1, , , 4], [, 1], new Array(3), [[[[1]]]], Object.create(null), Object.create({ a: 1 }), {
      __proto__: { [Symbol.toStringTag]: "Tag" },
    });
    console.log(
      new Map([["a", { b: 1 }]]),
      new Set([1, "2"]),
      new WeakMap(),
      /a\/b/gi,
      new Date(0),
      new Date(NaN),
      new Number(3),
      new String("abc"),
      new Boolean(false),
    );
    console.log(new Uint8Array([1, 2]), new ArrayBuffer(3), new DataView(new ArrayBuffer(2)), new BigInt64Array(1));
    console.log(
      Promise.resolve(1),
      Promise.reject(new Error("r")).catch(() => {}) && new Promise(() => {}),
      new Proxy(
        { a: 1 },
        {
          get() {
            throw new Error("never called");
          },
        },
      ),
    );
    console.log(["it's", 'say "x"', `both ' and "`, "a\nb\t\x01\ud800"], "raw\ttext");
    console.log(Array.from({ length: 30 }, (_, i) => i));
    console.log(Array.from({ length: 102 }, () => 1).length, "x".repeat(20000).length, ["y".repeat(10010)][0].length);
    console.log({ long: "a".repeat(60), other: "b".repeat(30), nested: { x: 1, y: [1, 2, 3] } });
    const error = new TypeError("bad");
    error.stack = "TypeError: bad\n    at worker.js:1:2\n    at lethe:entry:3:4";
    error.code = "X";
    error.cause = "inner";
    console.log(error);
    console.log({ nested: Object.assign(new Error("e"), { stack: "Error: e\n    at a.js:1:1" }) });
    console.log(
      new Headers({ a: "b" }),
      new URL("http://h/p?q").searchParams,
      new URLSearchParams("a=1"),
      new Response("x", { status: 201 }),
    );
    console.table([
      { a: 1, b: "x" },
      { a: 2, c: true },
    ]);
    console.table(
      [
        [1, 2],
        [3, 4],
      ],
      ["1"],
    );
    console.table(new Map([["k", 1]]));
    console.table("plain");
    console.group("outer");
    console.info("in\nside");
    console.group();
    console.warn("deeper");
    console.groupEnd();
    console.groupEnd();
    console.count();
    console.count("x");
    console.count();
    console.countReset();
    console.count();
    console.countReset("none");
    console.assert(true, "silent");
    console.assert(false);
    console.assert(false, "why %s", "so");
    console.assert(false, { a: 1 });
    console.dir({ a: { b: { c: { d: 1 } } } }, { depth: 0 });
    console.timeEnd("none");
    console.debug("debug");
    console.error("error");
    console.log();
    const deep = {};
    let at = deep;
    for (let i = 0; i < 1000; i++) at = at.next = {};
    console.log(deep);
    console.log(
      "z".repeat(70000).slice(0, 3),
      Object.prototype.toString.call(console),
      Object.keys(console).length,
      typeof console.log.prototype,
    );
    return new Response("done");
  },
};
