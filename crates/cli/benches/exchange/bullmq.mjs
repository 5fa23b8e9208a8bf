// The anchor for a whole job: BullMQ's cycle of three steps (add, take, complete) on a Redis that syncs its log at
// every write. 64 clients each post a job, wait for the acknowledgement, and post the next when it is completed.
// Usage: BULLMQ_FROM=FOLDER/package.json node bullmq.mjs PORT SECONDS; prints cycles a second.
import { createRequire } from "node:module";

const { Queue, Worker } = createRequire(process.env.BULLMQ_FROM)("bullmq");
const [port, seconds] = process.argv.slice(2).map(Number);
const connection = { host: "127.0.0.1", port, maxRetriesPerRequest: null };
const queue = new Queue("jobs", { connection, defaultJobOptions: { removeOnComplete: true } });
const worker = new Worker("jobs", async () => "1 2 3 4 5 6 7 8 9 10", { connection, concurrency: 64 });
const waiting = new Map();
let completed = 0;
worker.on("completed", (job) => {
    completed += 1;
    waiting.get(job.data.client)?.();
});
await worker.waitUntilReady();

async function client(client) {
    for (;;) {
        const done = new Promise((resolve) => waiting.set(client, resolve));
        await queue.add("count", { client, prompt: "Count to ten", price_cents: 500 });
        await done;
    }
}
for (let n = 0; n < 64; n += 1) client(n);
const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
await rest(1000);
const [from, began] = [completed, performance.now()];
await rest(seconds * 1000);
console.log(Math.round(((completed - from) * 1000) / (performance.now() - began)));
process.exit(0);
