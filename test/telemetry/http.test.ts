import { once } from "node:events";
import { type IncomingHttpHeaders, request } from "node:http";
import { connect, createServer, type Socket } from "node:net";
import { hostname } from "node:os";
import t, { type Test } from "tap";
import { Pollmode } from "../../src/index.ts";
import { HTTP_CLIENTS_MAX, HTTP_TIMEOUT_MS } from "../../src/limits.ts";
import { isOwnHost, serveTelemetry, type TelemetryOptions } from "../../src/telemetry/http.ts";
import type { LiveReading } from "../../src/telemetry/live.ts";
import { parseExposition } from "./exposition.ts";

t.setTimeout(90_000);
const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

const pm = await Pollmode.start({ vdev: ["net_null0"], noHuge: true, memoryMib: 8, mbufs: 512 });
t.teardown(() => pm.close());
await pm.port(0).configure();
await pm.port(0).start();

async function serve(t: Test, options: TelemetryOptions = {}) {
  const server = await serveTelemetry(pm, { port: 0, ...options });
  t.teardown(() => server.close());
  return server;
}

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

function ask(
  url: string,
  path: string,
  options: { method?: string; host?: string; body?: string } = {},
): Promise<Answer> {
  const { method = "GET", host, body } = options;
  const headers = host === undefined ? {} : { host };
  return new Promise((resolve, reject) => {
    const asked = request(new URL(url), { path, method, headers, agent: false }, async (response) => {
      let text = "";
      for await (const part of response.setEncoding("utf8")) text += part;
      resolve({ status: response.statusCode!, headers: response.headers, body: text });
    });
    asked.on("error", reject).end(body);
  });
}

/** A connection that says what it is told to. */
async function socketTo(t: Test, url: string, text = ""): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  socket.on("error", () => {});
  t.teardown(() => socket.destroy());
  await once(socket, "connect");
  socket.write(text);
  return socket;
}

t.test("page, metrics, snapshot", async (t) => {
  const { url } = await serve(t);
  t.match(url, /^http:\/\/127\.0\.0\.1:\d+\/$/);
  const page = await ask(url, "/?unit=bps");
  t.match(page, {
    status: 200,
    headers: { "content-type": "text/html; charset=utf-8" },
    body: /^<!doctype html>/,
  });
  const own = [...page.body.matchAll(/(?:href|src)="([^"#]+)"/g)].map(([, path]) => path!);
  t.ok(own.length >= 4);
  for (const path of own) t.equal((await ask(url, path)).status, 200, path);
  t.match((await ask(url, "/page.js")).headers["content-type"], /^text\/javascript/);
  const metrics = await ask(url, "/metrics");
  t.match(metrics.headers["content-type"], /^text\/plain; version=0\.0\.4/, "as Prometheus asks for");
  t.ok(parseExposition(metrics.body).samples.length > 30);
  const snapshot = await ask(url, "/api/snapshot");
  t.equal(snapshot.headers["content-type"], "application/json; charset=utf-8");
  const reading = JSON.parse(snapshot.body) as LiveReading;
  t.match(reading, {
    pid: process.pid,
    ports: [{ id: 0, name: "net_null0", rxQueues: [{ pps: 0 }] }],
    lcores: [{ lcore: 0 }],
  });
  t.equal((await ask(url, "/api/snapshot")).body, snapshot.body, "within a second all get the same reading");
});

t.test("what it says to browsers", async (t) => {
  const { url } = await serve(t);
  for (const path of ["/", "/metrics", "/api/snapshot", "/no"]) {
    const { headers } = await ask(url, path);
    t.match(headers["content-security-policy"], /^default-src 'none'; script-src 'self'/);
    t.match(headers["content-security-policy"], /frame-ancestors 'none'/);
    t.match(headers, { "x-content-type-options": "nosniff", "cache-control": "no-store" });
    t.same(
      Object.keys(headers).filter((name) => name.startsWith("access-control")),
      [],
      "no other origin",
    );
  }
});

t.test("it reads, and nothing else", async (t) => {
  const { url } = await serve(t);
  for (const method of ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"]) {
    const answer = await ask(url, "/metrics", {
      method,
      body: method === "POST" ? "x".repeat(100_000) : undefined!,
    });
    t.match(answer, { status: 405, headers: { allow: "GET, HEAD" } }, method);
  }
  const head = await ask(url, "/", { method: "HEAD" });
  const get = await ask(url, "/");
  t.match(head, { status: 200, body: "", headers: { "content-length": get.headers["content-length"]! } });
});

t.test("paths that are none", async (t) => {
  const { url } = await serve(t);
  for (const path of [
    "/no",
    "/../package.json",
    "/page/index.html",
    "//",
    "/%2e%2e/x",
    "/metrics/",
    "/constructor",
  ]) {
    t.equal((await ask(url, path)).status, 404, path);
  }
  const long = await ask(url, `/${"x".repeat(20_000)}`);
  t.equal(long.status, 431);
  for (const text of [
    "GET\r\n\r\n",
    "\0\x01\x02\r\n\r\n",
    "GET / HTTP/9.9\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
  ]) {
    const socket = await socketTo(t, url, text);
    const [answer] = (await once(socket, "data")) as [Buffer];
    t.match(`${answer}`, /^HTTP\/1\.1 400 /, JSON.stringify(text));
  }
  t.equal((await ask(url, "/metrics")).status, 200, "it goes on");
});

t.test("the Host header: names of other machines get nothing", async (t) => {
  const { url } = await serve(t, { names: ["Stats.example"] });
  const { host } = new URL(url);
  for (const good of [
    host,
    "localhost",
    `LOCALHOST:1`,
    hostname(),
    "192.0.2.7",
    "[::1]:9464",
    "stats.example:80",
  ]) {
    t.equal((await ask(url, "/metrics", { host: good })).status, 200, good);
  }
  for (const bad of [
    "attacker.example",
    `attacker.example:${new URL(url).port}`,
    "127.0.0.1.example",
    "x@localhost",
  ]) {
    const { status, body } = await ask(url, "/metrics", { host: bad });
    t.equal(status, 421, bad);
    t.notMatch(body, /dpdk/);
  }
  const own = new Set(["localhost"]);
  for (const bad of [
    undefined,
    "",
    ":80",
    "[::1",
    "localhost:x",
    "localhost:80:80",
    "[localhost]",
    "1.2.3",
    "::1",
  ]) {
    t.equal(isOwnHost(bad, own), false, `${bad}`);
  }
});

t.test("slow clients are cut off, many are bounded, and others are served", async (t) => {
  const { url } = await serve(t);
  const started = performance.now();
  const slow = await Promise.all(
    Array.from({ length: HTTP_CLIENTS_MAX - 4 }, (_, k) => socketTo(t, url, k % 2 ? "GET / HT" : "")),
  );
  const closed = Promise.all(slow.map((socket) => once(socket, "close")));
  t.equal((await ask(url, "/metrics")).status, 200, "while they wait");
  const more = await Promise.all(Array.from({ length: 20 }, () => socketTo(t, url).catch(() => undefined)));
  await pause(200);
  const alive = [...slow, ...more].filter((socket) => socket && !socket.closed && !socket.readableEnded);
  t.ok(alive.length <= HTTP_CLIENTS_MAX, `${alive.length} connections`);
  for (const socket of slow) socket.resume();
  await closed;
  const took = performance.now() - started;
  t.ok(took > HTTP_TIMEOUT_MS * 0.9 && took < HTTP_TIMEOUT_MS + 5000, `after ${Math.round(took)} ms`);
  t.equal((await ask(url, "/metrics")).status, 200);
});

t.test("closing leaves nothing", async (t) => {
  await pause(100); // what the tests before have closed
  const held = () => process.getActiveResourcesInfo().filter((name) => !/^(Pipe|TTY)/.test(name));
  const before = held().sort();
  for (let k = 0; k < 3; k++) {
    const server = await serveTelemetry(pm, { port: 0 });
    const socket = await socketTo(t, server.url, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    const closed = once(socket.resume(), "close");
    await ask(server.url, "/api/snapshot");
    await server.close();
    await server.close();
    await closed;
    await t.rejects(ask(server.url, "/"), { code: "ECONNREFUSED" });
  }
  await pause(100);
  t.same(held().sort(), before);
});

t.test("await using closes it", async (t) => {
  let url = "";
  {
    await using server = await serveTelemetry(pm, { port: 0 });
    url = server.url;
    t.equal((await ask(url, "/metrics")).status, 200);
  }
  await t.rejects(ask(url, "/metrics"), { code: "ECONNREFUSED" });
});

t.test("addresses that cannot be had", async (t) => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  t.teardown(() => other.close());
  const { port } = other.address() as { port: number };
  const refused = (options: TelemetryOptions) => serveTelemetry(pm, options).then((server) => server.close());
  await t.rejects(refused({ port }), {
    name: "PollmodeError",
    code: "EADDRINUSE",
    message: `--http 127.0.0.1:${port}: another program listens there`,
    fix: /--http 127\.0\.0\.1:0/,
  });
  await t.rejects(refused({ host: "192.0.2.1", port: 9464 }), { code: "EADDRNOTAVAIL", fix: /ip address/ });
  await t.rejects(refused({ host: "no-such-host.invalid", port: 0 }), {
    code: /^(ENOTFOUND|EAI_AGAIN)$/,
    fix: /127/,
  });
});

t.test("open to the network: said so, once", async (t) => {
  const warnings: string[] = [];
  const warn = (text: string) => void warnings.push(text);
  const closed = await serve(t, { warn });
  t.same(warnings, []);
  const open = await serve(t, { host: "0.0.0.0", warn });
  t.match(warnings, [/^--http 0\.0\.0\.0:\d+ is open to the network/]);
  t.match(open.url, /^http:\/\/0\.0\.0\.0:/);
  t.equal((await ask(open.url, "/metrics", { host: "127.0.0.1" })).status, 200);
  t.not(closed.url, open.url);
});

t.test("IPv6", async (t) => {
  const { url } = await serve(t, { host: "::1" });
  t.match(url, /^http:\/\/\[::1\]:\d+\/$/);
  t.equal((await ask(url, "/metrics")).status, 200);
});
