#ifndef SOFTSNAP_SUBMISSION_H
#define SOFTSNAP_SUBMISSION_H

/// Operations in the first call of a submission; each further call takes twice as many. The kernel
/// rings the device's doorbell at the end of a call, so the device works on the first few while the
/// rest is prepared (32 in one call: a fifth fewer IOPS on a virtual disk).
enum { FIRST_SUBMISSION = 4 };

#endif
