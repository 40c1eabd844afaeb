/** @module SpinPtx: a kernel that keeps the GPU busy for as many nanoseconds as it is told. */

/** One thread that reads the clock until enough time has passed. Its one parameter is the time, u64. */
export const SPIN_PTX = `
.version 7.0
.target sm_75
.address_size 64
.visible .entry spin(.param .u64 nanoseconds)
{
  .reg .u64 %limit, %start, %now, %passed;
  .reg .pred %more;
  ld.param.u64 %limit, [nanoseconds];
  mov.u64 %start, %globaltimer;
again:
  mov.u64 %now, %globaltimer;
  sub.u64 %passed, %now, %start;
  setp.lt.u64 %more, %passed, %limit;
  @%more bra again;
  ret;
}
`;
