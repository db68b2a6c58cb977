// What is made of the library's answers, where no emulated device gives them.
import t from "tap";
import * as abi from "../../../src/bus/rdma/abi.ts";
import { DV_CONTEXT_ROOM, parseDvLimits, parseLimits, parsePort } from "../../../src/bus/rdma/limits.ts";
import * as dv from "../../../src/bus/rdma/mlx5dv-abi.ts";

t.test("a port's state", async (t) => {
  const port = (state: number, width: number, speed: number, layer: number) => {
    const attributes = Buffer.alloc(abi.IBV_PORT_ATTR_BYTES);
    attributes.writeUInt32LE(state, abi.IBV_PORT_ATTR_STATE);
    attributes.writeUInt32LE(3, abi.IBV_PORT_ATTR_ACTIVE_MTU); // IBV_MTU_1024
    attributes[abi.IBV_PORT_ATTR_ACTIVE_WIDTH] = width;
    attributes[abi.IBV_PORT_ATTR_ACTIVE_SPEED] = speed;
    attributes[abi.IBV_PORT_ATTR_LINK_LAYER] = layer;
    return attributes;
  };
  t.same(parsePort(port(4, 2, 32, 2), 9000), { up: true, speed: 100_000, mtu: 9000, linkLayer: "ethernet" });
  t.same(parsePort(port(4, 1, 32, 2), undefined).mtu, 1024, "where the interface cannot be seen");
  const speeds = [
    [1, 32, 25_000],
    [2, 4, 40_000],
    [16, 64, 100_000],
    [2, 64, 200_000],
    [2, 128, 400_000],
    [2, 3, 0],
  ] as const;
  for (const [width, speed, mbps] of speeds) {
    t.equal(parsePort(port(4, width, speed, 2), 1500).speed, mbps, `width ${width}, speed ${speed}`);
  }
  t.match(parsePort(port(1, 2, 32, 1), 1500), { up: false, speed: 0, linkLayer: "infiniband" });
  t.equal(parsePort(port(1, 2, 32, 0), 1500).linkLayer, "unknown");
});

t.test("a device that can do nothing beyond verbs", async (t) => {
  const limits = parseLimits(Buffer.alloc(abi.IBV_DEVICE_ATTR_EX_BYTES));
  t.match(limits, {
    firmware: "",
    maxWq: 0,
    tsoMax: 0,
    rss: { supported: false, fields: 0, tableMax: 0 },
    raw: { vlanStrip: false, checksum: false, scatterFcs: false },
  });
  t.same(parseDvLimits(Buffer.alloc(DV_CONTEXT_ROOM), 0x1017), {
    cqeVersion1: false,
    striding: undefined,
    compression: [],
    compression128: false,
    cqePadding128: false,
    mpw: false,
    enhancedMpw: false,
    minInline: 0,
  });
});

t.test("what libmlx5 answers counts where comp_mask says that it has answered", async (t) => {
  const context = Buffer.alloc(DV_CONTEXT_ROOM);
  context.writeUInt32LE(4, dv.MLX5DV_CONTEXT_CQE_COMP_CAPS_MAX_NUM);
  context.writeUInt32LE(3, dv.MLX5DV_CONTEXT_CQE_COMP_CAPS_SUPPORTED_FORMAT);
  context.writeUInt32LE(1 << 8, dv.MLX5DV_CONTEXT_STRIDING_RQ_CAPS_SUPPORTED_QPTS);
  context.writeUInt32LE(6, dv.MLX5DV_CONTEXT_STRIDING_RQ_CAPS_MIN_SINGLE_STRIDE_LOG_NUM_OF_BYTES);
  context.writeUInt32LE(13, dv.MLX5DV_CONTEXT_STRIDING_RQ_CAPS_MAX_SINGLE_STRIDE_LOG_NUM_OF_BYTES);
  context.writeUInt32LE(9, dv.MLX5DV_CONTEXT_STRIDING_RQ_CAPS_MIN_SINGLE_WQE_LOG_NUM_OF_STRIDES);
  context.writeUInt32LE(16, dv.MLX5DV_CONTEXT_STRIDING_RQ_CAPS_MAX_SINGLE_WQE_LOG_NUM_OF_STRIDES);
  t.match(parseDvLimits(context, 0x1015), { compression: [], striding: undefined, minInline: 18 });
  const both = dv.MLX5DV_CONTEXT_MASK_CQE_COMPRESION | dv.MLX5DV_CONTEXT_MASK_STRIDING_RQ;
  context.writeUInt32LE(both, dv.MLX5DV_CONTEXT_COMP_MASK);
  const striding = { logStrideBytesMin: 6, logStrideBytesMax: 13, logStridesMin: 9, logStridesMax: 16 };
  t.match(parseDvLimits(context, 0x1013), { compression: ["hash", "csum"], striding, minInline: 18 });
  context.writeUInt32LE(1 << 2, dv.MLX5DV_CONTEXT_STRIDING_RQ_CAPS_SUPPORTED_QPTS);
  t.equal(parseDvLimits(context, 0x1019).striding, undefined, "of other queues than raw packet ones");
});
