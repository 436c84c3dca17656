// The smallest useful Worker: answers each request from an isolate that never saw another one.
//
//   curl 'http://localhost:8787/?name=Ada'   ->   Hello, Ada!

/** Longer names are refused, so that an answer never grows with what a stranger sends. */
const NAME_LENGTH_MAX = 100;

// Counts the requests this isolate has seen. It is 1 for every request, because no isolate sees a second one.
let requestsSeen = 0;

export default {
  /** GET /?name=NAME greets; everything else is refused. */
  async fetch(request, env) {
    requestsSeen += 1;
    if (request.method !== "GET") {
      return new Response("only GET\n", { status: 405, headers: { allow: "GET" } });
    }
    const name = new URL(request.url).searchParams.get("name") ?? "world";
    if (name.length > NAME_LENGTH_MAX) {
      return new Response(`a name has at most ${NAME_LENGTH_MAX} characters\n`, { status: 400 });
    }
    return new Response(`${env.GREETING}, ${name}!\n`, {
      headers: { "content-type": "text/plain; charset=utf-8", "x-requests-seen": String(requestsSeen) },
    });
  },
};
