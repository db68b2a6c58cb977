// netlink's messages and attributes, the client against a kernel made up for it, and the kernel's own.
import { networkInterfaces } from "node:os";
import t from "tap";
import * as abi from "../../../src/bus/netlink/abi.ts";
import { listAddresses, listRoutes } from "../../../src/bus/netlink/addresses.ts";
import { Attributes, attribute, eachAttribute, nest, words } from "../../../src/bus/netlink/attributes.ts";
import { Rtnetlink } from "../../../src/bus/netlink/client.ts";
import { linkRequest, listLinks } from "../../../src/bus/netlink/link.ts";
import { encodeMessage, type Message, messagesOf } from "../../../src/bus/netlink/message.ts";
import type { Wire } from "../../../src/bus/netlink/socket.ts";

const EPERM = 1;
const malformed = { code: "NETLINK_MALFORMED" };

t.test("attributes: written and read again", async (t) => {
  const inner = nest(7, attribute(1, Buffer.from("bond\0")), attribute(4, words(5, 6)));
  t.equal(inner.length, 4 + 12 + 12, "each is padded to 4 bytes");
  const bytes = Buffer.concat([inner, attribute(2, Buffer.of(9)), attribute(3, Buffer.from("text"))]);
  const read = new Attributes(bytes, "test");
  t.equal(read.nested(7)?.text(1), "bond");
  t.same(read.nested(7)?.bytes(4), words(5, 6));
  t.equal(read.u8(2), 9);
  t.equal(read.text(3), "text", "without a NUL");
  t.equal(read.u32(99), undefined);
  t.throws(() => read.u32(2), { ...malformed, message: /attribute 2 has 1 bytes, not 4/ });
  t.equal(
    new Attributes(Buffer.concat([attribute(2, words(1)), attribute(2, words(2))]), "").u32(2),
    2,
    "the last",
  );
});

t.test("attributes that lie about their length", async (t) => {
  for (const length of [0, 3, 9, 0xffff]) {
    const bytes = attribute(1, words(1));
    bytes.writeUInt16LE(length);
    t.throws(() => [...eachAttribute(bytes, "RTM_X")], {
      ...malformed,
      message: /^netlink, RTM_X: an attribute of/,
    });
  }
  t.same([...eachAttribute(Buffer.of(8, 0, 1), "")], [], "less than a header is padding");
});

t.test("messages", async (t) => {
  const one = encodeMessage({ type: 16, flags: 2, sequence: 7, body: Buffer.of(1, 2, 3, 4, 5) });
  const two = encodeMessage({ type: 3, flags: 2, sequence: 7, body: Buffer.alloc(4) });
  const found = messagesOf(Buffer.concat([one, Buffer.alloc(3), two]), "");
  t.same(
    found.map(({ type, body }) => [type, body.length]),
    [
      [16, 5],
      [3, 4],
    ],
  );
  t.throws(() => messagesOf(one.subarray(0, 12), ""), malformed);
  t.throws(() => messagesOf(one.subarray(0, 20), ""), malformed);
  one.writeUInt32LE(4);
  t.throws(() => messagesOf(one, ""), malformed);
});

const padded = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);

/** Answers each request with the next list of datagrams. */
class FakeKernel implements Wire {
  readonly requests: Message[] = [];
  readonly #answers: Message[][][];
  #waiting: Buffer[] = [];

  constructor(...answers: Message[][][]) {
    this.#answers = answers;
  }

  send(datagram: Buffer): void {
    const [request] = messagesOf(datagram, "");
    this.requests.push(request!);
    for (const part of this.#answers.shift() ?? []) {
      const stamped = part.map((message) => ({
        ...message,
        sequence: message.sequence || request!.sequence,
      }));
      this.#waiting.push(Buffer.concat(stamped.map((message) => padded(encodeMessage(message)))));
    }
  }

  receive(): Buffer {
    return this.#waiting.shift()!;
  }

  close(): void {}
}

const part = (text: string, flags = 2): Message => ({
  type: 16,
  flags,
  sequence: 0,
  body: Buffer.from(text),
});
const done = (errno = 0, flags = 2): Message => ({
  type: abi.NLMSG_DONE,
  flags,
  sequence: 0,
  body: words(-errno),
});
const ack = (errno: number, flags = 0, ...rest: Buffer[]): Message => {
  const request = Buffer.alloc(abi.NLMSGHDR_BYTES);
  request.writeUInt32LE(24);
  const body = Buffer.concat([words(-errno), request, ...rest]);
  return { type: abi.NLMSG_ERROR, flags, sequence: 0, body };
};
const texts = (messages: readonly Message[]) => messages.map(({ body }) => `${body}`);

t.test("a listing in several datagrams, and what is not its own", async (t) => {
  const stale = { ...part("old"), sequence: 99 };
  const kernel = new FakeKernel([[part("a"), stale, part("b")], [part("c")], [done()]]);
  using client = new Rtnetlink(kernel);
  t.same(texts(client.dump(18, linkRequest(0), "RTM_X")), ["a", "b", "c"]);
  t.match(kernel.requests, [{ type: 18, flags: abi.NLM_F_REQUEST | abi.NLM_F_DUMP, sequence: 1 }]);
});

t.test("a listing that something changes in is begun anew, but not for ever", async (t) => {
  const torn = [[part("a", 2 | abi.NLM_F_DUMP_INTR)], [done()]];
  const tornAtEnd = [[part("a")], [done(0, 2 | abi.NLM_F_DUMP_INTR)]];
  const kernel = new FakeKernel(torn, tornAtEnd, [[part("b")], [done()]]);
  t.same(texts(new Rtnetlink(kernel).dump(18, linkRequest(0), "RTM_X")), ["b"]);
  t.equal(kernel.requests.length, 3);
  const restless = new FakeKernel(...Array.from({ length: 20 }, () => torn));
  t.throws(() => new Rtnetlink(restless).dump(18, linkRequest(0), "RTM_X"), { code: "NETLINK_RESTLESS" });
  t.equal(restless.requests.length, 10);
});

t.test("failures have errno's name and the kernel's words", async (t) => {
  const why = attribute(abi.NLMSGERR_ATTR_MSG, Buffer.from("no such thing\0"));
  const fails = (message: Message) => {
    const client = new Rtnetlink(new FakeKernel([[message]]));
    return () => client.request(19, linkRequest(1), "RTM_SETLINK, this");
  };
  t.throws(fails(ack(EPERM)), {
    code: "EPERM",
    message: "rtnetlink(RTM_SETLINK, this): EPERM, Operation not permitted",
    fix: /run as root/,
  });
  const capped = abi.NLM_F_ACK_TLVS | abi.NLM_F_CAPPED;
  t.throws(fails(ack(95, capped, why)), { code: "EOPNOTSUPP", message: /supported: no such thing$/ });
  t.throws(fails(ack(22, abi.NLM_F_ACK_TLVS, Buffer.alloc(8), why)), { message: /argument: no such thing$/ });
  t.throws(fails(ack(22, abi.NLM_F_ACK_TLVS)), malformed, "shorter than the request that it repeats");
  t.throws(fails({ ...ack(22), body: Buffer.alloc(2) }), malformed);
  t.throws(fails({ ...part(""), type: abi.NLMSG_OVERRUN }), { code: "NETLINK_SILENT" });
  t.same(fails(ack(0))(), []);
  const listing = new Rtnetlink(new FakeKernel([[part("a")], [done(EPERM)]]));
  t.throws(() => listing.dump(18, linkRequest(0), "RTM_X"), { code: "EPERM" });
});

t.test("this machine's own kernel", async (t) => {
  using client = new Rtnetlink();
  const links = listLinks(client);
  t.match(
    links.find(({ index }) => index === 1),
    { name: "lo", hasXdp: false },
  );
  const addresses = listAddresses(client);
  for (const [name, own] of Object.entries(networkInterfaces())) {
    for (const { address, cidr } of own ?? []) {
      const link = links.find((link) => link.name === name);
      const found = addresses.find((entry) => entry.address === address && entry.index === link?.index);
      t.equal(`${found?.address}/${found?.prefixLength}`, cidr, name);
    }
  }
  t.ok(
    listRoutes(client).every(({ hops }) =>
      hops.every(({ index }) => links.some((link) => link.index === index)),
    ),
  );
  t.throws(() => client.request(abi.RTM.GETLINK, linkRequest(0x7fff_fff0), "RTM_GETLINK"), {
    code: "ENODEV",
  });
});
