/** @module Handle: native handles and addresses as numbers, each kind a type of its own. */

/** A native handle: a pointer below 2^53, as a number, that only fits where its own kind is asked for. */
export type Handle<Tag extends string> = number & { readonly __handle: Tag };

/** Address in host memory. */
export type HostPtr = Handle<"host">;

/** Address in device memory, or of mapped host memory as the device sees it. */
export type DevicePtr = Handle<"device">;
