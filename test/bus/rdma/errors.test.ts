// What a failed verb says, by errno and by what the process may do.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import {
  cannotOpen,
  nodeErrno,
  noProvider,
  notEthernet,
  notMlx5,
  verbFailed,
} from "../../../src/bus/rdma/errors.ts";
import { processRights, type Rights } from "../../../src/bus/rdma/rights.ts";
import type { RdmaDeviceInfo } from "../../../src/bus/rdma/types.ts";
import { KIB, MIB } from "../../../src/limits.ts";

const info: RdmaDeviceInfo = {
  ibdev: "mlx5_0",
  uverbs: "/dev/infiniband/uverbs0",
  pci: "0000:5e:00.0",
  netdevs: ["enp94s0f0"],
  vendor: 0x15b3,
  device: 0x1017,
  physicalFunction: undefined,
};
const root: Rights = {
  pinLimitBytes: Infinity,
  pinnedBytes: 0,
  hasNetRaw: true,
  inFirstUserNamespace: true,
};
const verb = { call: "ibv_create_qp", what: "a send queue of 512 WQEs" };
const fail = (errno: number, rights: Partial<Rights> = {}, pinnedBytes = 0) =>
  verbFailed("net_rdma0, mlx5_0", info, { ...verb, pinnedBytes }, errno, { ...root, ...rights });

t.test("the message names port, device, object, call and errno", async (t) => {
  const error = fail(22);
  t.equal(error.code, "RDMA_FAILED");
  t.equal(
    error.message,
    "net_rdma0, mlx5_0: a send queue of 512 WQEs: ibv_create_qp failed: EINVAL, Invalid argument",
  );
  t.match(error.fix, /dmesg/);
  t.match(fail(0).message, /failed: no reason given$/);
});

t.test("CAP_NET_RAW", async (t) => {
  t.match(fail(1, { hasNetRaw: false }), {
    code: "RDMA_RAW_PERMISSION",
    message: /EPERM.*this process has no CAP_NET_RAW/,
    fix: /setcap cap_net_raw\+ep \/\S*node\S*; in a container: docker run --cap-add NET_RAW/,
  });
  t.match(fail(1, { inFirstUserNamespace: false }), {
    code: "RDMA_RAW_PERMISSION",
    message: /first user namespace/,
    fix: /rootless/,
  });
  t.match(fail(13), { code: "RDMA_RAW_PERMISSION", fix: /SELinux/ });
});

t.test("memory that may not be pinned, and memory that there is not", async (t) => {
  const limited = { pinLimitBytes: 8 * MIB, pinnedBytes: 2 * MIB };
  t.match(fail(12, limited, 64 * MIB), {
    code: "RDMA_MEMLOCK",
    message: /RLIMIT_MEMLOCK is 8192 KiB, 67584 KiB are needed \(65536 to pin, 2048 pinned already\)/,
    fix: /ulimit -l 67584.*- memlock 67584' >> \/etc\/security\/limits.conf.*--ulimit memlock=-1/,
  });
  t.match(fail(12, limited, 4 * MIB), { code: "RDMA_NO_MEMORY" }, "that is within the limit");
  t.match(fail(12, {}, 64 * MIB), { code: "RDMA_NO_MEMORY", fix: /fewer or smaller queues/ });
});

t.test("a device that is gone, is busy, cannot", async (t) => {
  for (const errno of [5, 6, 19]) {
    t.match(
      fail(errno),
      { code: "RDMA_DEVICE_LOST", fix: /devlink health show pci\/0000:5e:00.0/ },
      `${errno}`,
    );
  }
  t.match(fail(16), { code: "RDMA_BUSY", fix: /destroy what uses it first/ });
  for (const errno of [38, 95, 524]) {
    t.match(fail(errno), { code: "RDMA_UNSUPPORTED", fix: /devlink dev info pci\/0000:5e:00.0/ }, `${errno}`);
  }
});

t.test("a device that cannot be opened", async (t) => {
  const open = (errno: number) => cannotOpen("port", info, errno);
  t.match(open(2), {
    code: "RDMA_NO_NODE",
    fix: /--device \/dev\/infiniband\/uverbs0; .*modprobe ib_uverbs/,
  });
  t.match(open(13), { code: "RDMA_PERMISSION", fix: /chmod 666 \/dev\/infiniband\/uverbs0/ });
  t.match(open(1), { code: "RDMA_PERMISSION", fix: "docker run --device /dev/infiniband/uverbs0" });
  t.match(open(5), { code: "RDMA_DEVICE_LOST", message: /uverbs0: ibv_open_device failed: EIO/ });
  t.match(open(24), { code: "RDMA_FAILED", message: /EMFILE/, fix: /ulimit -n/ });
  t.match(open(22), { code: "RDMA_FAILED", fix: /dmesg/ });
  t.equal(nodeErrno({ ...info, uverbs: "/dev/null" }), undefined, "a node that can be opened");
  t.equal(nodeErrno({ ...info, uverbs: "/dev/infiniband-none/uverbs0" }), 2);
  t.match(noProvider("port", info), { code: "RDMA_NO_LIBRARY", fix: /ibverbs-providers/ });
  t.match(notMlx5("port", { ...info, vendor: 0x1d0f, device: 0xefa1 }), {
    code: "RDMA_NOT_MLX5",
    message: /mlx5_0 \(1d0f:efa1\)/,
    fix: /mode=ibv/,
  });
  t.match(notEthernet("port", info), { code: "RDMA_NOT_ETHERNET", fix: /mstconfig -d 0000:5e:00.0/ });
});

t.test("rights of a process, from /proc", async (t) => {
  const proc = mkdtempSync(join(tmpdir(), "pollmode-proc-"));
  t.teardown(() => rmSync(proc, { recursive: true }));
  mkdirSync(join(proc, "self"));
  const put = (file: string, text: string) => writeFileSync(join(proc, "self", file), text);
  t.same(processRights(proc), { ...root, hasNetRaw: false }, "without /proc the errno is all there is");
  put(
    "limits",
    "Limit   Soft Limit  Hard Limit  Units\nMax locked memory         8388608    8388608    bytes\n",
  );
  put("status", "Name:\tnode\nVmPin:\t      12 kB\nCapEff:\t0000000000002000\n");
  put("uid_map", "         0          0 4294967295\n");
  const user: Rights = {
    pinLimitBytes: 8 * MIB,
    pinnedBytes: 12 * KIB,
    hasNetRaw: true,
    inFirstUserNamespace: true,
  };
  t.same(processRights(proc), user);
  put("status", "VmPin:\t       0 kB\nCapEff:\t0000000000004000\n");
  t.same(processRights(proc), { ...root, hasNetRaw: false }, "CAP_IPC_LOCK: no limit");
  put("uid_map", "         0       1000          1\n");
  t.equal(processRights(proc).inFirstUserNamespace, false);
  put("limits", "Max locked memory         unlimited            unlimited            bytes\n");
  put("status", "CapEff:\t0000000000000000\n");
  t.match(processRights(proc), { pinLimitBytes: Infinity, hasNetRaw: false });
});
