/* SPDX-License-Identifier: MIT
 *
 * A smart pointer for objects of poolobject.h: as long as it lives, it owns one reference. As large as a pointer; never
 * throws. `T` is the struct that the object's type describes.
 */
#ifndef POOLOBJECT_HPP
#define POOLOBJECT_HPP

#include <cstddef>
#include <utility>

#include "poolobject.h"

namespace po {

template <class T = void> class ref {
  public:
    ref() noexcept = default;
    ref(std::nullptr_t) noexcept {}

    /* Takes over a new reference, as po_new returns. */
    static ref steal(void *object) noexcept { return ref(static_cast<T *>(object)); }
    /* A new reference to an object that something else keeps alive. */
    static ref borrow(void *object) noexcept { return ref(static_cast<T *>(po_incref(object))); }

    ref(const ref &other) noexcept : object(static_cast<T *>(po_incref(other.object))) {}
    ref(ref &&other) noexcept : object(std::exchange(other.object, nullptr)) {}
    ~ref() { po_decref(object); }

    /* The old object's release sees the new value, as with po_set. */
    ref &operator=(ref other) noexcept
    {
        std::swap(object, other.object);
        return *this;
    }

    T *get() const noexcept { return object; }
    T *operator->() const noexcept { return object; }
    explicit operator bool() const noexcept { return object != nullptr; }

    /* The reference is the caller's from now on. */
    T *release() noexcept { return std::exchange(object, nullptr); }
    void reset() noexcept { *this = ref(); }

    friend bool operator==(const ref &a, const ref &b) noexcept { return a.object == b.object; }
    friend bool operator!=(const ref &a, const ref &b) noexcept { return a.object != b.object; }

  private:
    explicit ref(T *stolen) noexcept : object(stolen) {}

    T *object = nullptr;
};

} // namespace po

#endif
