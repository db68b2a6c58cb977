// What the NICs do with addresses, VLANs, long frames, checksums, queues and their cable, as the kernel's own driver
// sees it from the other NIC. guest/features.ts does it; here stands what must come of it.
import { setTimeout as pause } from "node:timers/promises";
import t from "tap";
import { Lab, labBed } from "../beds/lab/lab.ts";
import type { FeatureSettings } from "./guest/features.ts";
import { endKernelPeer, guestProgram, kernelPeer, lastJson } from "./support.ts";
