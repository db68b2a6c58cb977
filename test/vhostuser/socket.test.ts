import { existsSync, mkdtempSync, rmSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { PollmodeError } from "../../src/errors.ts";
import { bindUnix, close, eventfd, sendmsg, socketpair, unixSocket } from "../../src/libc/libc.ts";
import { connectUnix, listenUnix } from "../../src/vhostuser/listen.ts";
import { encodeHeader, encodeU64, type Message } from "../../src/vhostuser/protocol.ts";
import { VhostUserSocket } from "../../src/vhostuser/socket.ts";
import { newPoller, openFds, pause, RawPeer, until } from "./peers.ts";

interface Log {
  messages: Message[];
  reasons: (PollmodeError | undefined)[];
  onMessage(message: Message): void | Promise<void>;
}

function open(poller = newPoller()) {
  const [a, b] = socketpair();
  const log: Log = { messages: [], reasons: [], onMessage: () => {} };
  const socket = new VhostUserSocket(b, poller, {
    name: "test",
    onMessage: (message) => {
      log.messages.push(message);
      return log.onMessage(message);
    },
    onClose: (reason) => log.reasons.push(reason),
  });
  return { socket, log, peer: new RawPeer(a), poller };
}

t.test("messages come whole, in order, one at a time, however they are cut", async (t) => {
  const { socket, log, peer, poller } = open();
  const order: string[] = [];
  log.onMessage = async ({ request }) => {
    order.push(`begin ${request}`);
    await pause(request === 1 ? 20 : 1);
    order.push(`end ${request}`);
  };
  const bytes = Buffer.concat([
    encodeHeader(1, 1, 8),
    encodeU64(11n),
    encodeHeader(2, 1, 0),
    encodeHeader(3, 1, 8),
    encodeU64(33n),
  ]);
  for (let at = 0; at < bytes.length; at += 7) {
    sendmsg(peer.fd, bytes.subarray(at, at + 7));
    await pause(1);
  }
  await until(() => order.length === 6);
  t.same(order, ["begin 1", "end 1", "begin 2", "end 2", "begin 3", "end 3"]);
  t.equal(log.messages[2]!.payload.readBigUInt64LE(), 33n);
  socket.close();
  await until(() => log.reasons.length === 1);
  t.equal(log.reasons[0], undefined);
  peer.close();
  poller.close();
});

t.test("fds belong to their message; those left are closed", async (t) => {
  const { socket, log, peer, poller } = open();
  const before = openFds();
  const fd = eventfd();
  let taken: number | undefined;
  log.onMessage = (message) => {
    if (message.request === 2) taken = message.fds.shift();
  };
  peer.send(1, 1, encodeU64(1n), [fd, fd, fd]);
  peer.send(2, 1, encodeU64(1n), [fd, fd]);
  peer.send(3, 1);
  await until(() => log.messages.length === 3);
  close(fd);
  t.equal(typeof taken, "number");
  close(taken!);
  t.ok(openFds() <= before, "none is left"); // fewer: node has closed one of its own meanwhile
  socket.close();
  peer.close();
  poller.close();
});

const faults: [string, string, (peer: RawPeer) => void][] = [
  ["bad version", "VHOST_VERSION", (peer) => peer.send(1, 2)],
  ["oversize", "VHOST_SIZE", (peer) => void sendmsg(peer.fd, encodeHeader(1, 1, 4097))],
  ["a reply to nothing", "VHOST_REPLY", (peer) => peer.send(1, 1 | 4, encodeU64(0n))],
  ["end", "VHOST_DISCONNECTED", (peer) => peer.close()],
  [
    "end within a message",
    "VHOST_DISCONNECTED",
    (peer) => {
      sendmsg(peer.fd, encodeHeader(1, 1, 8));
      peer.close();
    },
  ],
  [
    "too many fds at once",
    "VHOST_FDS",
    (peer) => {
      const fd = eventfd();
      peer.send(1, 1, encodeU64(0n), new Array(9).fill(fd));
      close(fd);
    },
  ],
  [
    "too many fds one after the other",
    "VHOST_FDS",
    (peer) => {
      const fd = eventfd();
      sendmsg(peer.fd, encodeHeader(1, 1, 64), new Array(5).fill(fd));
      sendmsg(peer.fd, Buffer.alloc(8), new Array(5).fill(fd));
      close(fd);
    },
  ],
];

for (const [name, code, act] of faults) {
  t.test(`fault of the peer: ${name}`, async (t) => {
    const before = openFds();
    const { log, peer, poller } = open();
    act(peer);
    await until(() => log.reasons.length > 0);
    t.match(log.reasons, [{ code, message: /^vhost-user test: /, fix: /./ }]);
    t.same(log.messages, []);
    peer.close();
    poller.close();
    await until(() => openFds() <= before);
  });
}

t.test("a handler's failure is the connection's end", async (t) => {
  for (const [error, wanted] of [
    [new PollmodeError("E1", "vhost-user test: why", "so"), { code: "E1", fix: "so" }],
    [new TypeError("oops"), { code: "VHOST_HANDLER", message: /oops/ }],
  ] as const) {
    const { log, peer, poller } = open();
    log.onMessage = () => Promise.reject(error);
    peer.send(1, 1);
    peer.send(2, 1);
    await until(() => log.reasons.length > 0);
    t.match(log.reasons, [wanted]);
    t.equal(log.messages.length, 1);
    peer.close();
    poller.close();
  }
});

t.test("calls", async (t) => {
  const { socket, log, peer, poller } = open();
  const [first, second] = [socket.call(1, 0), socket.call(2, 0, encodeU64(5n))];
  t.equal((await peer.receive()).length, 0);
  t.equal((await peer.receive()).readBigUInt64LE(), 5n);
  peer.send(1, 1 | 4, encodeU64(10n));
  peer.send(2, 1 | 4, encodeU64(20n));
  t.equal((await first).payload.readBigUInt64LE(), 10n);
  t.equal((await second).payload.readBigUInt64LE(), 20n);
  const silent = socket.call(15, 0, undefined, [], 20);
  const behind = socket.call(16, 0);
  await t.rejects(silent, { code: "VHOST_TIMEOUT", message: /GET_PROTOCOL_FEATURES within 20 ms/ });
  await t.rejects(behind, { code: "VHOST_TIMEOUT" });
  await t.rejects(socket.call(1, 0), { code: "VHOST_CLOSED" });
  await until(() => log.reasons.length === 1);
  socket.close();
  t.match(log.reasons, [{ code: "VHOST_TIMEOUT" }]);
  peer.close();
  poller.close();
});

t.test("what the peer does not read waits, with its fds, and arrives in order", async (t) => {
  const { socket, log, peer, poller } = open();
  const before = openFds();
  const count = 400;
  for (let k = 0; k < count; k++) {
    const fd = eventfd();
    socket.send(k, 0, Buffer.alloc(4000, k), [fd]);
    close(fd);
  }
  t.ok(openFds() > before, "some wait");
  for (let k = 0; k < count; k++) {
    const payload = await peer.receive();
    if (payload[0] !== (k & 0xff) || payload.length !== 4000) t.fail(`message ${k}`);
  }
  await until(() => openFds() <= before);
  t.same(log.reasons, []);
  for (let k = 0; k < count; k++) socket.send(k, 0, Buffer.alloc(4000), [0]);
  peer.close();
  await until(() => log.reasons.length === 1);
  t.ok(["EPIPE", "ECONNRESET", "VHOST_DISCONNECTED"].includes(log.reasons[0]!.code), log.reasons[0]!.code);
  poller.close();
  await until(() => openFds() < before);
});

/** A socket's path has 107 bytes at most: tap's own folders may be too deep. */
function shortFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), "pollmode-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return folder;
}

t.test("a listener: connections, a dead one's file, a live one's, other files", async (t) => {
  const folder = shortFolder(t);
  const path = `${folder}/socket`;
  const before = openFds();
  const poller = newPoller();
  const dead = unixSocket();
  bindUnix(dead, path);
  close(dead);
  t.throws(() => connectUnix(path), { code: "ECONNREFUSED", message: /connect\(.*socket\)/, fix: /start/ });
  const peers: number[] = [];
  const listener = listenUnix(path, poller, (fd) => peers.push(fd));
  const connections = [connectUnix(path), connectUnix(path)];
  await until(() => peers.length === 2);
  t.throws(() => listenUnix(path, poller, () => {}), {
    code: "EADDRINUSE",
    message: /another process/,
    fix: /stop/,
  });
  t.ok(statSync(path).isSocket());
  listener.close();
  listener.close();
  t.notOk(existsSync(path), "its file is gone");
  t.throws(() => connectUnix(path), { code: "ENOENT" });
  writeFileSync(path, "");
  t.throws(() => listenUnix(path, poller, () => {}), { code: "EADDRINUSE", message: /no socket/, fix: /rm/ });
  t.throws(() => listenUnix(`${folder}/none/socket`, poller, () => {}), { code: "ENOENT", fix: /mkdir/ });
  for (const fd of [...peers, ...connections]) close(fd);
  poller.close();
  await until(() => openFds() <= before);
});

t.test("a listener leaves another's file alone", async (t) => {
  const path = `${shortFolder(t)}/socket`;
  const poller = newPoller();
  const listener = listenUnix(path, poller, () => {});
  unlinkSync(path);
  writeFileSync(path, "not yours");
  listener.close();
  t.ok(existsSync(path));
  poller.close();
});
