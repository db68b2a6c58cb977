import t from "tap";
import { DevargsReader, parseDevargs } from "../../src/eal/devargs.ts";

const reader = (text: string) => new DevargsReader(parseDevargs(text));

t.test("a virtual device with arguments", async (t) => {
  const devargs = parseDevargs("net_virtio_user0,path=/tmp/s,queues=2,mac=00:11:22:33:44:55");
  t.match(devargs, { bus: "vdev", driver: "net_virtio_user", name: "net_virtio_user0", repeated: [] });
  t.same(
    [...devargs.args],
    [
      ["path", "/tmp/s"],
      ["queues", "2"],
      ["mac", "00:11:22:33:44:55"],
    ],
  );
});

t.test("names", async (t) => {
  t.match(parseDevargs("net_null"), { driver: "net_null", name: "net_null", args: new Map() });
  t.match(parseDevargs("net_e1000v12"), { driver: "net_e1000v", name: "net_e1000v12" });
  t.match(parseDevargs("01:00.0"), { bus: "pci", driver: "", name: "0000:01:00.0" });
  t.match(parseDevargs("0000:AF:1f.7,rss=1"), { bus: "pci", name: "0000:af:1f.7" });
  t.equal(parseDevargs("0000:01:00.0,rss=1").args.get("rss"), "1");
});

t.test("lists in brackets keep their commas", async (t) => {
  const { args } = parseDevargs("0000:01:00.0,representor=[0-3,[7,8]],queue=[1,2],x=a=b,flag");
  t.same(
    [...args],
    [
      ["representor", "[0-3,[7,8]]"],
      ["queue", "[1,2]"],
      ["x", "a=b"],
      ["flag", ""],
    ],
  );
});

t.test("malformed devargs", async (t) => {
  const cases: [string, RegExp][] = [
    ["", /the device's name is missing/],
    [",path=x", /the device's name is missing/],
    ["net null0", /"net null0" is neither a device name nor a PCI address/],
    ["0000:01:00", /neither/],
    ["net_null0,", /an argument without a key/],
    ["net_null0,=3", /an argument without a key \(in "=3"\)/],
    ["net_null0,a b=3", /"a b" is not a key/],
    ["net_null0,q=[1,2", /a "\[" is not closed/],
    ["net_null0,q=1]", /"\]" at position 14 has no "\["/],
    [`n${"x".repeat(63)}`, /64 characters, at most 63/],
  ];
  for (const [text, message] of cases)
    t.throws(() => parseDevargs(text), { code: "DEVARGS", message, fix: /.+/ });
  t.throws(() => parseDevargs("?", "--allow"), { message: /^--allow "\?"/, fix: /--allow 0000:01:00.0/ });
});

t.test("the reader takes every kind of value", async (t) => {
  const args = reader("net_x0,queues=2,size=0x100,rx=1,path=/tmp/a:b,mac=00:11:22:33:44:Ff,mode=client");
  t.equal(args.integer("queues", { default: 1, min: 1, max: 8 }), 2);
  t.equal(args.powerOfTwo("size", { default: 512, min: 64, max: 4096 }), 256);
  t.equal(args.flag01("rx", { default: false }), true);
  t.equal(args.string("path", { required: true }), "/tmp/a:b");
  t.same(args.mac("mac"), Uint8Array.of(0, 0x11, 0x22, 0x33, 0x44, 0xff));
  t.equal(args.oneOf("mode", ["client", "server"], { default: "server" }), "client");
  args.end();
});

t.test("the reader's defaults", async (t) => {
  const args = reader("net_x0");
  t.equal(args.integer("queues", { default: 1, min: 1, max: 8 }), 1);
  t.equal(args.powerOfTwo("size", { default: 512, min: 64, max: 4096 }), 512);
  t.equal(args.flag01("rx", { default: true }), true);
  t.equal(args.string("path"), undefined);
  t.equal(args.string("path", { default: "here" }), "here");
  t.equal(args.mac("mac"), undefined);
  t.equal(args.oneOf("mode", ["client", "server"], { default: "server" }), "server");
  args.end();
});

t.test("wrong values are named with device, key and range", async (t) => {
  const bounds = { default: 4, min: 1, max: 8 };
  for (const value of ["0", "9", "-1", "1.5", "2x", "", "1e1"]) {
    t.throws(() => reader(`net_x0,queues=${value}`).integer("queues", bounds), {
      code: "DEVARGS_VALUE",
      message: `net_x0: queues="${value}" is not a whole number from 1 to 8`,
    });
  }
  const value = { code: "DEVARGS_VALUE" };
  t.throws(() => reader("net_x0,n=100").powerOfTwo("n", { min: 64, max: 512 }), { ...value, fix: /n=128/ });
  t.throws(() => reader("net_x0,n=0").powerOfTwo("n", { min: 0, max: 512 }), { ...value, fix: /n=1/ });
  t.throws(() => reader("net_x0,f=yes").flag01("f", { default: false }), {
    ...value,
    message: /neither 0 nor 1/,
  });
  t.throws(() => reader("net_x0,p=").string("p"), { ...value, message: /is empty/ });
  t.throws(() => reader("net_x0,m=cleint").oneOf("m", ["client", "server"], { default: "client" }), {
    ...value,
    fix: /m=client/,
  });
  t.throws(() => reader("net_x0,mac=1:2:3").mac("mac"), { ...value, message: /not an Ethernet address/ });
  t.throws(() => reader("net_x0,mac=01:00:00:00:00:01").mac("mac"), { ...value, message: /multicast/ });
  t.throws(() => reader("net_x0,mac=00:00:00:00:00:00").mac("mac"), { ...value, message: /all zeros/ });
  const missing = { code: "DEVARGS_MISSING", message: "net_x0: path= is required" };
  t.throws(() => reader("net_x0").string("path", { required: true }), missing);
  t.throws(() => reader("net_x0").integer("queues", { min: 1, max: 2 }), { code: "DEVARGS_MISSING" });
});

t.test("list() takes keys that may be repeated, in the order given", async (t) => {
  const lists = reader("net_x0,b=1,a=x,c=2,a=y,b=3");
  t.same(lists.list("a", "b"), [
    { key: "b", value: "1" },
    { key: "a", value: "x" },
    { key: "a", value: "y" },
    { key: "b", value: "3" },
  ]);
  t.equal(lists.integer("c", { min: 0, max: 9 }), 2);
  lists.end();
  t.same(reader("net_x0").list("a"), []);
  t.throws(() => reader("net_x0,a=1,a=").list("a"), { code: "DEVARGS_VALUE", message: /a="" is empty/ });
  const others = reader("net_x0,a=1,c=2,c=3");
  others.list("a");
  others.integer("c", { min: 0, max: 9 });
  t.throws(() => others.end(), { code: "DEVARGS_REPEATED", message: /more than once: c/ });
  // made by a program, which has no text
  const made = new DevargsReader({
    ...parseDevargs("net_x0"),
    given: undefined,
    args: new Map([["a", "1"]]),
  });
  t.same(made.list("a"), [{ key: "a", value: "1" }]);
});

t.test("end() names unknown and repeated keys, the driver and what it knows", async (t) => {
  const unknown = reader("net_x0,queue=2,foo=1");
  unknown.integer("queues", { default: 1, min: 1, max: 8 });
  unknown.string("path");
  t.throws(() => unknown.end(), {
    code: "DEVARGS_UNKNOWN",
    message: "net_x0: unknown keys queue, foo",
    fix: "did you mean queues=? net_x knows: queues, path",
  });
  const twice = reader("net_x0,path=a,path=b");
  t.equal(twice.string("path"), "a");
  t.throws(() => twice.end(), {
    code: "DEVARGS_REPEATED",
    message: "net_x0: key given more than once: path",
  });
  t.throws(() => reader("0000:01:00.0,a=1").end(), {
    code: "DEVARGS_UNKNOWN",
    fix: "the driver of 0000:01:00.0 knows: no key",
  });
});
