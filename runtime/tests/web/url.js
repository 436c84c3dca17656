// URL and URLSearchParams.
const thrown = (f) => {
  try {
    return f();
  } catch (error) {
    return error.name;
  }
};
const parts = [
  "href",
  "origin",
  "protocol",
  "username",
  "password",
  "host",
  "hostname",
  "port",
  "pathname",
  "search",
  "hash",
];

export default {
  async fetch() {
    for (const text of [
      "https://user:pa%20ss@EXAMPLE.com:8080/a/../b c?q=1#f",
      "http://h",
      "http://:p@h:80/",
      "http://u@[::1]:1/",
      "file:///C|/x",
      "mailto:a@b",
      "data:text/plain,hi?x#y",
      "blob:https://h:1/id",
      "ws://h?",
      "http://h/?#",
      "web+x://h/p",
      "http://\u4f8b\u3048.jp/",
    ]) {
      const url = new URL(text);
      console.log(JSON.stringify(text), parts.map((part) => JSON.stringify(url[part])).join(" "));
    }
    console.log(
      new URL("../x?y", "http://h/a/b/c").href,
      new URL("//other/z", new URL("https://h/")).href,
      new URL("#f", "http://h/p?q").href,
    );
    console.log(
      thrown(() => new URL("/rel")),
      thrown(() => new URL("http://")),
      thrown(() => new URL("x", "mailto:a")),
      thrown(() => new URL()),
      URL.canParse("/a", "http://h"),
      URL.canParse("a"),
      URL.parse("nope"),
      URL.parse("a", "http://h/").href,
    );

    const url = new URL("http://h:1/p?q#f");
    const set = (part, value) => {
      url[part] = value;
      return `${part}=${value} -> ${url.href}`;
    };
    for (const [part, value] of [
      ["protocol", "https:foo"],
      ["protocol", "mailto"],
      ["username", "a b"],
      ["password", "c:d"],
      ["host", "x.y:99"],
      ["hostname", "z"],
      ["hostname", "bad host"],
      ["port", "443"],
      ["port", "70000"],
      ["port", "12x"],
      ["port", ""],
      ["pathname", "a b/../c"],
      ["search", "?s=1"],
      ["search", ""],
      ["hash", "#"],
      ["hash", "h h"],
      ["href", "http://new/"],
    ])
      console.log(set(part, value));
    console.log(
      thrown(() => {
        url.href = "nope";
      }),
      url.href,
      `${url}`,
      JSON.stringify({ url }),
      thrown(() => URL.prototype.toString.call({})),
    );

    const linked = new URL("http://h/?a=1&b=2");
    const params = linked.searchParams;
    params.append("c", "x y&z");
    params.delete("a");
    console.log(linked.href, params === linked.searchParams, params.size);
    linked.search = "?n=1";
    console.log(params.get("n"), params.get("b"), `${params}`);
    linked.href = "http://other/?m=2";
    console.log(`${params}`);
    params.delete("m");
    console.log(linked.href);

    const list = new URLSearchParams("?a=1&b=%20+%2B&a=2&=e&f&%ff=\u20ac");
    console.log(JSON.stringify([...list]), `${list}`);
    console.log(
      list.get("a"),
      list.getAll("a").join(),
      list.has("a", "2"),
      list.has("a", "3"),
      list.get("zz"),
      list.has("f"),
    );
    list.set("a", "9");
    list.delete("b", "no");
    list.sort();
    console.log(`${list}`, [...list.keys()].join(), [...list.values()].join());
    console.log(
      `${new URLSearchParams({ x: 1, y: "a&b" })}`,
      `${new URLSearchParams([["p", "q"]])}`,
      `${new URLSearchParams(new URLSearchParams("k=v"))}`,
      `${new URLSearchParams("a=~!*()'-._")}`,
    );
    console.log(
      thrown(() => new URLSearchParams([["a"]])),
      thrown(() => new URLSearchParams([1])),
      thrown(() => list.get()),
      thrown(() => URLSearchParams.prototype.get.call({}, "a")),
    );
    for (const pair of list) list.delete(pair[0]);
    console.log(`${list}`);
    console.log(
      Object.prototype.toString.call(url),
      Object.prototype.toString.call(list),
      URL.length,
      URLSearchParams.length,
      Object.keys(URL).join(),
    );
    return new Response("done");
  },
};
