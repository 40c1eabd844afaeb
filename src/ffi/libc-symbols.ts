/** @module The symbol table of the C library: what Bun's own file functions do not offer. */

/** Close the descriptor when another program is started: `O_CLOEXEC`. */
export const O_CLOEXEC = 0o2000000;
/** `fcntl`: set the bytes a pipe holds. */
export const F_SETPIPE_SZ = 1031;
/** `fcntl`: the bytes a pipe holds. */
export const F_GETPIPE_SZ = 1032;

/** Prototypes of `unistd.h`, `fcntl.h` and `stdlib.h` on Linux. @see pipe(2), fcntl(2), setenv(3) */
export const LIBC_SYMBOLS = {
  pipe2: {
    args: [
      "ptr", // int pipefd[2]: read end, write end
      "i32", // int flags: O_…
    ],
    returns: "i32", // 0, or -1
  },
  fcntl: {
    args: [
      "i32", // int fd
      "i32", // int op: F_…
      "i32", // int arg
    ],
    returns: "i32", // by op; -1 on failure
  },
  setenv: {
    args: [
      "ptr", // const char *name
      "ptr", // const char *value
      "i32", // int overwrite
    ],
    returns: "i32", // 0, or -1
  },
} as const;
