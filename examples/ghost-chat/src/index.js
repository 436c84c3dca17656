// ghost-chat: a chat whose sessions can be destroyed. This file is the Worker: it serves the page, checks who asks,
// and passes what is allowed on to the actor of the session.
//
//   GET    /              the page
//   POST   /api/login     {name, session?} -> {token, session, name}; without a session a new one is made
//   GET    /api/stream    messages as server-sent events; ?after=N leaves out those the caller has
//   POST   /api/messages  {text}
//   DELETE /api/session   destroys the session, for everybody and for good
//
// All but the first two need `Authorization: Bearer TOKEN`. Whoever knows a session's id may join it: it is random
// and cannot be guessed, and ids that this server did not make are refused.

import page from "./page.html";
import { issueToken, readToken } from "./token.js";

export { Session } from "./session.js";

/** A person's name, in characters. */
const NAME_LENGTH_MAX = 40;
/** A message, in characters. */
const TEXT_LENGTH_MAX = 2000;
/** A request's JSON, in bytes. */
const BODY_BYTES_MAX = 16 * 1024;

/** Something the caller did wrong: answered with this status and text. */
class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    try {
      switch (`${request.method} ${url.pathname}`) {
        case "GET /":
          return servePage();
        case "POST /api/login":
          return await login(request, url, env);
        case "GET /api/stream":
          return await stream(request, url, env);
        case "POST /api/messages":
          return await say(request, url, env);
        case "DELETE /api/session":
          return await end(request, url, env);
        default:
          throw new Refusal(404, "there is nothing here");
      }
    } catch (error) {
      return refusal(error);
    }
  },
};

/** The page may run its own script and talk to its own server, and nothing else. */
function servePage() {
  const nonce = crypto.randomUUID();
  const policy = [
    "default-src 'none'",
    `script-src 'nonce-${nonce}'`,
    `style-src 'nonce-${nonce}'`,
    "img-src data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ];
  return new Response(page.replaceAll("NONCE", nonce), {
    headers: {
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": policy.join("; "),
      "referrer-policy": "no-referrer",
      "cache-control": "no-store",
    },
  });
}

/** Lets a person into a session and gives out the token that proves it. */
async function login(request, url, env) {
  const { name, session } = await readJson(request);
  if (typeof name !== "string" || name.trim() === "" || name.length > NAME_LENGTH_MAX) {
    throw new Refusal(400, `a name has 1 to ${NAME_LENGTH_MAX} characters`);
  }
  const id = session === undefined ? env.SESSION.newUniqueId() : sessionId(env, session);
  // Fails with 410 if the session was destroyed.
  await env.SESSION.get(id).touch();
  const claims = { session: id.toString(), name: name.trim() };
  return Response.json({ ...claims, token: await issueToken(secret(url, env), claims) });
}

async function stream(request, url, env) {
  const { session } = await authenticate(request, url, env);
  const after = Number(url.searchParams.get("after") ?? 0);
  if (!Number.isSafeInteger(after) || after < 0) {
    throw new Refusal(400, "after is the number of a message");
  }
  return await session.fetch(`http://session/stream?after=${after}`);
}

async function say(request, url, env) {
  const { session, name } = await authenticate(request, url, env);
  const { text } = await readJson(request);
  if (typeof text !== "string" || text.trim() === "" || text.length > TEXT_LENGTH_MAX) {
    throw new Refusal(400, `a message has 1 to ${TEXT_LENGTH_MAX} characters`);
  }
  return Response.json(await session.say(name, text), { status: 201 });
}

async function end(request, url, env) {
  const { session, name } = await authenticate(request, url, env);
  await session.farewell(name);
  // Not part of Cloudflare's API: the actor and all it stored are gone when this returns, and a tombstone stays.
  await session.destroy();
  return new Response(null, { status: 204 });
}

/** Who asks, and the actor of their session. */
async function authenticate(request, url, env) {
  const [, token] = /^Bearer (.+)$/.exec(request.headers.get("authorization") ?? "") ?? [];
  const claims = token && (await readToken(secret(url, env), token));
  if (!claims) {
    throw new Refusal(401, "log in first");
  }
  return { name: claims.name, session: env.SESSION.get(sessionId(env, claims.session)) };
}

function sessionId(env, text) {
  try {
    return env.SESSION.idFromString(text);
  } catch {
    throw new Refusal(400, "this is not a session of this server");
  }
}

/** The secret that signs tokens. The sample one works on this machine only. */
function secret(url, env) {
  const isLocal = ["localhost", "127.0.0.1", "[::1]"].includes(url.hostname);
  if (!env.TOKEN_SECRET || (env.TOKEN_SECRET.startsWith("sample-") && !isLocal)) {
    throw new Error("set TOKEN_SECRET to a secret of your own, in wrangler.jsonc or its environment");
  }
  return env.TOKEN_SECRET;
}

async function readJson(request) {
  const text = await request.text();
  if (text.length > BODY_BYTES_MAX) {
    throw new Refusal(413, "this is too much");
  }
  try {
    return Object(JSON.parse(text));
  } catch {
    throw new Refusal(400, "the body is not JSON");
  }
}

/** What a caller is told about an error: theirs in words, ours without details. */
function refusal(error) {
  if (error instanceof Refusal) {
    return Response.json({ error: error.message }, { status: error.status });
  }
  if (error.name === "ActorDestroyed") {
    return Response.json({ error: "this session was destroyed" }, { status: 410 });
  }
  console.error(error);
  return Response.json({ error: "something went wrong here" }, { status: 500 });
}
