import { EventEmitter } from 'node:events';

/**
 * A record that is in the worker's hands, until done() or fail(), once. Another of them later, or a write(), throws an
 * Error and changes nothing.
 */
export class Input {
  /** Its place in the input of the stage, from 1; the same when it runs again. */
  readonly id: number;
  /** How often it was given to a worker, this time included. */
  readonly attempt: number;
  /**
   * Writes a record that belongs to this one. A string is written as UTF-8. Throws a TypeError for what is neither text
   * nor bytes, and a RangeError if it is longer than a record may be, `--max-record`.
   * Returns false while what was written waits for the stage; the worker emits 'drain' when it has gone.
   */
  write(record: string | NodeJS.ArrayBufferView): boolean;
  /** It is done, and all that was written for it may go on. */
  done(): void;
  /** It could not be done; what was written for it is dropped. An Error's message is the reason. */
  fail(reason?: unknown): void;
}

export interface WorkerOptions {
  /** How many records are worked on at a time; 1 by default. `concurrency` in the flow file goes first. */
  concurrency?: number;
  /** Gives records as strings of that encoding; without it they are Buffers. */
  encoding?: 'utf8' | 'latin1' | 'ascii' | 'hex' | 'base64';
  /** It takes no records: what it writes by worker.write() belongs to none. */
  source?: boolean;
}

export interface WorkerEvents {
  /** A record. A listener that throws, or whose promise is rejected, has failed it. */
  data: [record: any, input: Input];
  /**
   * Nothing more can be handed over now, and records are in hand: the moment to commit, and to settle, what was gathered
   * from several.
   */
  idle: [];
  /** The input has ended and every record is settled; worker.write() still works. Nothing is taken later. */
  end: [];
  /** What was written has gone. */
  drain: [];
}

export class Worker extends EventEmitter {
  constructor(options?: WorkerOptions);

  on(event: 'data', listener: (record: any, input: Input) => void | Promise<void>): this;
  on(event: 'idle' | 'end' | 'drain', listener: () => void): this;

  /** The number of this worker in its stage, from 1; 0 before it is known. */
  readonly number: number;
  /** A whole number from 1; else setting it throws. */
  concurrency: number;
  /** Writes a record that belongs to none of the input. It goes on at once. Returns as Input.write() does. */
  write(record: string | NodeJS.ArrayBufferView): boolean;
  /** No record is handed over until resume(), and the stage gives none. */
  pause(): this;
  resume(): this;
  /** Takes no more records; a source has written everything. The process ends when the records that it has are settled. */
  end(): void;
}
