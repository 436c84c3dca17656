// Response: construction, statics, clone, properties.
const thrown = (f) => {
  try {
    return f();
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
};

export default {
  async fetch() {
    const plain = new Response();
    console.log(
      plain.status,
      plain.ok,
      plain.statusText === "",
      plain.type,
      plain.url === "",
      plain.redirected,
      plain.body,
      plain.bodyUsed,
    );
    const made = new Response("text", { status: 404, statusText: "No", headers: { "Content-Type": "x/y" } });
    console.log(made.status, made.ok, made.statusText, made.headers.get("content-type"), await made.text());

    for (const body of [
      "s",
      new Uint8Array([104, 105]),
      new Uint8Array([104, 105]).buffer,
      new DataView(new ArrayBuffer(1)),
      new URLSearchParams({ a: "b c" }),
      new Blob(["b"], { type: "t/u" }),
      12,
      {},
      null,
      undefined,
    ]) {
      const response = new Response(body);
      console.log(
        Object.prototype.toString.call(body),
        response.headers.get("content-type"),
        JSON.stringify(await response.text()),
      );
    }

    for (const bad of [
      () => new Response("", { status: 199 }),
      () => new Response("", { status: 600 }),
      () => new Response(null, { status: 101 }),
      () => new Response("x", { status: 204 }),
      () => new Response(null, { status: 204 }).status,
      () => new Response("", { statusText: "\n" }),
      () => new Response("", 1),
      () => new Response(Symbol("s")),
      () => Response(),
    ]) {
      console.log(thrown(bad));
    }

    const json = Response.json({ a: [1, null] }, { status: 201, headers: { x: "y" } });
    console.log(json.status, [...json.headers].join("; "), await json.text());
    console.log(Response.json(1, { headers: { "content-type": "a/b" } }).headers.get("content-type"));
    for (const bad of [
      () => Response.json(undefined),
      () => Response.json(Symbol()),
      () => Response.json(1n),
      () => Response.json(1, { status: 204 }),
    ])
      console.log(thrown(bad));

    const redirect = Response.redirect("http://EXAMPLE.com/a b", 307);
    console.log(
      redirect.status,
      redirect.headers.get("location"),
      redirect.body,
      thrown(() => Response.redirect("http://x/", 200)),
      thrown(() => Response.redirect("/relative")),
    );
    const error = Response.error();
    console.log(
      error.type,
      error.status,
      error.ok,
      error.body,
      thrown(() => error.headers.set("a", "b")),
    );

    const original = new Response("twice", { headers: { a: "1" } });
    const copy = original.clone();
    copy.headers.set("a", "2");
    console.log(original.headers.get("a"), copy.headers.get("a"), await original.text(), await copy.text());
    console.log(thrown(() => original.clone()));
    const streamed = new Response(ReadableStream.from([new Uint8Array([1]), new Uint8Array([2])]));
    const branch = streamed.clone();
    console.log((await streamed.bytes()).join(), (await branch.bytes()).join());

    const receiver = Object.getOwnPropertyDescriptor(Response.prototype, "status").get;
    console.log(
      thrown(() => receiver.call({})),
      await Response.prototype.text.call({}).catch((reason) => `rejected: ${reason.name}`),
    );
    console.log(
      Object.prototype.toString.call(plain),
      Response.length,
      Response.json.length,
      Object.keys(Response).join(),
      "ok" in Response.prototype,
    );
    return new Response("done");
  },
};
