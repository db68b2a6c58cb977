// In a network namespace: sends numbered frames of many sizes by a packet socket, and compares what comes back with
// what macswap should have made of them. Prints a report as JSON.
import { PacketSocket } from "../lab/guest/packet-socket.ts";

const count = 500;
const burst = 50;
const sizes = [60, 61, 64, 128, 511, 1024, 1500, 1514];

function frameOf(number: number, source: Uint8Array): Buffer {
  const frame = Buffer.alloc(sizes[number % sizes.length]!);
  for (let k = 0; k < frame.length; k++) frame[k] = (number * 31 + k * 7) & 0xff;
  frame.set([2, 0, 0, 0, number >>> 8, number & 0xff], 0);
  frame.set(source, 6);
  frame.writeUInt16BE(0x88b5, 12); // IEEE 802: for local experiments
  frame.writeUInt32BE(number, 14);
  return frame;
}

/** The same with the addresses exchanged. */
function swapped(frame: Buffer): Buffer {
  return Buffer.concat([frame.subarray(6, 12), frame.subarray(0, 6), frame.subarray(12)]);
}

using socket = new PacketSocket(process.argv[2]!);
const wrong: string[] = [];
let received = 0;
for (let first = 0; first < count; first += burst) {
  const frames = Array.from({ length: burst }, (_, k) => frameOf(first + k, socket.mac));
  for (const frame of frames) socket.send(frame);
  const back = await socket.receive(burst);
  received += back.length;
  const expected = new Set(frames.map((frame) => swapped(frame).toString("hex")));
  for (const frame of back) if (!expected.delete(frame.toString("hex"))) wrong.push(frame.toString("hex"));
}
console.log(JSON.stringify({ sent: count, received, wrong: wrong.slice(0, 5) }));
