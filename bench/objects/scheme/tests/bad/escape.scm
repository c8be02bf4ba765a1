(define x "a\qb")
