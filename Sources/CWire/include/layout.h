#ifndef SOFTSNAP_LAYOUT_H
#define SOFTSNAP_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

// Every layout below is little-endian, as the specifications say; so is every machine we build for.
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "little-endian only");

#define ASSERT_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type)
#define ASSERT_OFFSET(type, member, offset) \
    _Static_assert(offsetof(type, member) == (offset), #type "." #member)

#endif
