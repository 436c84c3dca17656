// Headers: validation, order, combining, set-cookie, iteration, guards.
const thrown = (f) => {
  try {
    return f();
  } catch (error) {
    return error.name;
  }
};
const show = (headers) => [...headers].map((pair) => pair.join("=")).join("; ");

export default {
  async fetch(request) {
    const headers = new Headers([
      ["b", "1"],
      ["A", " x\t"],
      ["b", "2"],
    ]);
    console.log("sorted, lower case, joined, trimmed:", show(headers));
    headers.append("Set-Cookie", "a=1");
    headers.append("set-cookie", "b=2");
    console.log(
      "set-cookie stays apart:",
      show(headers),
      JSON.stringify(headers.getSetCookie()),
      headers.get("set-cookie"),
    );
    headers.set("b", "3");
    headers.delete("a");
    console.log("set and delete:", show(headers), headers.has("B"), headers.get("nothing"));

    console.log(
      "record:",
      show(new Headers({ x: 1, y: null })),
      show(new Headers(new Map([["m", "n"]]))),
      show(new Headers(headers)),
    );
    console.log(
      "symbols and accessors:",
      thrown(() => new Headers({ [Symbol("s")]: 1 })),
      show(
        new Headers({
          get g() {
            return "got";
          },
        }),
      ),
    );
    for (const bad of [
      [["a"]],
      [["a", "b", "c"]],
      ["ab"],
      1,
      "text",
      null,
      { "a b": "" },
      { "": "" },
      { a: "\n1\r" },
      { a: "1\n2" },
      { a: "\u0100" },
      { a: "\0" },
    ]) {
      console.log(
        JSON.stringify(bad),
        thrown(() => show(new Headers(bad))),
      );
    }
    console.log(
      "arity:",
      thrown(() => headers.append("a")),
      thrown(() => headers.get()),
      headers.append.length,
      Headers.length,
    );
    console.log(
      "foreign receiver:",
      thrown(() => Headers.prototype.get.call({}, "a")),
      thrown(() => Headers.prototype.entries.call({})),
    );

    const live = new Headers([
      ["a", "1"],
      ["c", "3"],
    ]);
    const seen = [];
    for (const [name] of live) {
      seen.push(name);
      if (name === "a") live.append("b", "2");
    }
    console.log("iteration is live:", seen.join());
    live.forEach(
      function (value, name, all) {
        seen.push(name + value + (all === live) + this.t);
      },
      { t: "!" },
    );
    console.log("forEach:", seen.join());
    const iterator = live.entries();
    console.log(
      Object.prototype.toString.call(iterator),
      iterator[Symbol.iterator]() === iterator,
      Object.keys(Object.getPrototypeOf(iterator)).join(),
    );
    console.log(
      "next of a foreign object:",
      thrown(() => iterator.next.call({})),
    );
    console.log(Headers.prototype[Symbol.iterator] === Headers.prototype.entries, Object.prototype.toString.call(live));

    console.log(
      "a request's headers cannot be changed:",
      thrown(() => request.headers.set("a", "b")),
      thrown(() => request.headers.delete("none")),
    );
    console.log(
      "but a copy can:",
      show(new Headers(request.headers)),
      thrown(() => new Request(request).headers.set("a", "b")),
    );
    console.log(
      "redirect:",
      thrown(() => Response.redirect("http://x/").headers.set("a", "b")),
    );
    return new Response("done");
  },
};
