// How verbs tell that they failed, and what is said when the device or the context has gone: without any library.
import koffi from "koffi";
import t from "tap";
import { Core, type Opened } from "../../../src/bus/rdma/core.ts";

const EEXIST = 17;
const EOPNOTSUPP = 95;

function made(): Core {
  const info = { ibdev: "mlx5_0", uverbs: "/dev/infiniband/uverbs0", pci: "0000:5e:00.0" };
  return new Core({ who: "port 0, mlx5_0", info } as unknown as Opened);
}

const verb = { call: "ibv_modify_qp", what: "a queue" };

t.test("0, an errno, its negative, or -1 and errno: providers differ", async (t) => {
  const core = made();
  t.doesNotThrow(() => core.done(verb, () => 0));
  for (const result of [EOPNOTSUPP, -EOPNOTSUPP]) {
    t.throws(() => core.done(verb, () => result), { code: "RDMA_UNSUPPORTED" }, `${result}`);
  }
  const asInC = () => {
    koffi.errno(EOPNOTSUPP);
    return -1;
  };
  t.throws(() => core.done(verb, asInC), { code: "RDMA_UNSUPPORTED" });
});

t.test("a null pointer, with the errno of this call", async (t) => {
  const core = made();
  t.equal(
    core.made(verb, () => 42n),
    42n,
  );
  koffi.errno(EEXIST);
  t.throws(() => core.made(verb, () => null), { code: "RDMA_FAILED", message: /no reason given/ });
  const refused = () => {
    koffi.errno(EOPNOTSUPP);
    return null;
  };
  t.throws(() => core.made(verb, refused), { code: "RDMA_UNSUPPORTED" });
});

t.test("a device that has gone, a context that is closed", async (t) => {
  const core = made();
  core.lost = true;
  t.throws(() => core.done(verb, () => 22), {
    code: "RDMA_DEVICE_LOST",
    message: "port 0, mlx5_0: a queue: the device is gone",
  });
  core.closed = true;
  t.throws(() => core.made(verb, () => t.fail("not called") as never), { code: "RDMA_CLOSED" });
});

t.test("bounds", async (t) => {
  const core = made();
  for (const value of [1, 8]) t.doesNotThrow(() => core.checkLimit(value, 8, "queues"));
  for (const value of [0, 9, 1.5, Number.NaN]) {
    t.throws(() => core.checkLimit(value, 8, "queues"), { code: "RDMA_LIMIT", fix: "ask for 1 to 8 queues" });
  }
  t.throws(() => core.need(false, "wings"), { code: "RDMA_UNSUPPORTED", message: /mlx5_0 has no wings$/ });
});
