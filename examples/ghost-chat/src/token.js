// Tokens: what somebody may claim to be, signed with HMAC-SHA-256, so that the server need not remember who logged in.
//
//   base64url(JSON of the claims) "." base64url(signature)

/** A token works for this long. */
const LIFETIME_MS = 24 * 60 * 60 * 1000;
/** Longer texts are no tokens of ours. */
const TOKEN_LENGTH_MAX = 2048;

const HMAC = { name: "HMAC", hash: "SHA-256" };

function importSecret(secret) {
  return crypto.subtle.importKey("raw", new TextEncoder().encode(secret), HMAC, false, ["sign", "verify"]);
}

/** Signs `claims` (a JSON object) together with the time at which they end. */
export async function issueToken(secret, claims) {
  const body = new TextEncoder().encode(JSON.stringify({ ...claims, until_ms: Date.now() + LIFETIME_MS }));
  const signature = await crypto.subtle.sign(HMAC, await importSecret(secret), body);
  return `${toBase64Url(body)}.${toBase64Url(new Uint8Array(signature))}`;
}

/** The claims of a token that was signed with `secret` and has not ended; `null` for everything else. */
export async function readToken(secret, token) {
  const parts = token.split(".");
  if (token.length > TOKEN_LENGTH_MAX || parts.length !== 2) {
    return null;
  }
  const [body, signature] = parts.map(fromBase64Url);
  if (!body || !signature) {
    return null;
  }
  // `verify` compares in constant time; nothing is parsed before the signature is known to be ours.
  if (!(await crypto.subtle.verify(HMAC, await importSecret(secret), signature, body))) {
    return null;
  }
  const claims = JSON.parse(new TextDecoder().decode(body));
  return claims.until_ms > Date.now() ? claims : null;
}

function toBase64Url(bytes) {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function fromBase64Url(text) {
  try {
    return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  } catch {
    return null;
  }
}
